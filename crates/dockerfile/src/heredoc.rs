//! What here-documents mean to the instruction that names them.

use std::borrow::Cow;

use crate::ast::{Command, Heredoc, Run};

/// What a `RUN` executes, here-documents taken into account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script<'r> {
    /// The command as it is.
    Command(&'r Command),
    /// A text for the shell of the stage: either the one document that is the whole command, or
    /// the command followed by the documents it names, for the shell to read.
    Shell(Cow<'r, str>),
    /// A document that begins with `#!`: it is made an executable file of this name and run. The
    /// file is no part of the result.
    File {
        /// The delimiter, which names the file.
        name: &'r str,
        /// The content of the file.
        content: Cow<'r, str>,
    },
}

impl Run {
    /// What to execute.
    pub fn script(&self) -> Script<'_> {
        match (&self.command, self.heredocs.as_slice()) {
            (Command::Shell(_), [only]) if only.span == self.command_span => {
                let content = only.body();
                if content.starts_with("#!") {
                    Script::File { name: &only.name, content }
                } else {
                    Script::Shell(content)
                }
            }
            (Command::Shell(text), [_, ..]) => {
                // Verbatim: it is the shell that interprets `<<-` and quoted delimiters.
                let mut script = text.clone();
                for heredoc in &self.heredocs {
                    script.push('\n');
                    script.push_str(&heredoc.content);
                    script.push_str(&heredoc.name);
                }
                Script::Shell(Cow::Owned(script))
            }
            (command, _) => Script::Command(command),
        }
    }
}

impl Heredoc {
    /// The content, without the leading tabs of each line if it was written as `<<-`.
    pub fn body(&self) -> Cow<'_, str> {
        if !self.chomp {
            return Cow::Borrowed(&self.content);
        }
        let lines = self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t'));
        Cow::Owned(lines.collect())
    }

    /// Its first line, with an ellipsis if there are more: enough to recognise it by.
    pub fn summary(&self) -> String {
        let text = self.content.trim();
        match text.split_once('\n') {
            Some((first, _)) => format!("{}...", first.trim_end_matches('\r')),
            None => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InstructionKind, parse};

    fn run(text: &str) -> Run {
        let mut parsed = parse(&format!("FROM a\n{text}"));
        let instruction = parsed.dockerfile.stages.pop().and_then(|mut s| s.instructions.pop());
        match instruction.map(|instruction| instruction.kind) {
            Some(InstructionKind::Run(run)) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_document_alone_is_the_script() {
        assert_eq!(
            run("RUN --network=none <<-EOF\n\techo a\nEOF\n").script(),
            Script::Shell("echo a\n".into())
        );
        assert_eq!(
            run("RUN \\\n <<EOF\n#!/bin/x\nEOF\n").script(),
            Script::File { name: "EOF", content: "#!/bin/x\n".into() }
        );
    }

    #[test]
    fn a_document_for_a_command_is_left_to_the_shell() {
        assert_eq!(
            run("RUN cat <<-'A' <<B >f\n\ta\n\tA\nb\nB\n").script(),
            Script::Shell("cat <<-'A' <<B >f\n\ta\nA\nb\nB".into())
        );
        let command = Command::Exec(vec!["<<EOF".into()]);
        assert_eq!(run("RUN [\"<<EOF\"]").script(), Script::Command(&command));
    }

    #[test]
    fn documents_are_known_by_their_first_line() {
        assert_eq!(run("RUN <<E\n\n one\r\ntwo\nE\n").heredocs[0].summary(), "one...");
        assert_eq!(run("RUN <<E\none\nE\n").heredocs[0].summary(), "one");
    }
}
