//! Prints a tree back as a Dockerfile that parses to the same tree.
//!
//! What the tree doesn't keep is not printed: continuations, blank runs and comments other than
//! those directly above an instruction.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write as _};

use crate::ast::{
    Add, ArgPair, Command, Copy, Dockerfile, Healthcheck, Heredoc, Instruction, InstructionKind,
    KeyValue, Run, Source, Stage,
};
use crate::span::Spanned;
use crate::syntax::heredoc::introduce;
use crate::value::format_duration;

impl Display for Dockerfile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let directives = &self.directives;
        for (name, value) in [("syntax", &directives.syntax), ("check", &directives.check)] {
            if let Some(value) = value {
                writeln!(f, "# {name}={}", value.value)?;
            }
        }
        if directives.escape != '\\' {
            writeln!(f, "# escape={}", directives.escape)?;
        }
        // The blank line keeps a comment from being read as one more directive.
        f.write_char('\n')?;
        let printer = Printer { escape: directives.escape };
        for arg in &self.global_args {
            printer.instruction(f, arg)?;
        }
        for stage in &self.stages {
            f.write_char('\n')?;
            printer.stage(f, stage)?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Printer {
    escape: char,
}

/// The part of an instruction behind its keyword, while it is put together.
struct Line {
    escape: char,
    text: String,
    heredocs: Vec<Heredoc>,
}

impl Printer {
    fn line(self, keyword: &str) -> Line {
        Line { escape: self.escape, text: keyword.to_owned(), heredocs: Vec::new() }
    }

    fn stage(self, f: &mut Formatter<'_>, stage: &Stage) -> fmt::Result {
        comment(f, stage.comment.as_deref())?;
        let mut line = self.line(&stage.keyword.value);
        line.flag("platform", stage.from.platform.as_ref());
        line.operands(&stage.from.image.value);
        if let (Some(keyword), Some(name)) = (&stage.from.as_keyword, &stage.from.name) {
            line.word(&keyword.value);
            line.word(&name.value);
        }
        line.write(f)?;
        stage.instructions.iter().try_for_each(|instruction| self.instruction(f, instruction))
    }

    fn instruction(self, f: &mut Formatter<'_>, instruction: &Instruction) -> fmt::Result {
        comment(f, instruction.comment.as_deref())?;
        self.whole(instruction).write(f)
    }

    fn whole(self, instruction: &Instruction) -> Line {
        let mut line = self.line(&instruction.keyword.value);
        match &instruction.kind {
            InstructionKind::Arg(args) => line.args(args),
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => line.pairs(pairs),
            InstructionKind::Run(run) => line.run(run),
            InstructionKind::Copy(copy) => line.copy(copy),
            InstructionKind::Add(add) => line.add(add),
            InstructionKind::Workdir(text)
            | InstructionKind::User(text)
            | InstructionKind::Stopsignal(text)
            | InstructionKind::Maintainer(text) => line.operands(&text.value),
            InstructionKind::Expose(words) => line.operands(&join(words)),
            InstructionKind::Volume(words) => line.list(&words.iter().collect::<Vec<_>>()),
            InstructionKind::Cmd(command) | InstructionKind::Entrypoint(command) => {
                line.operands(&written(command));
            }
            InstructionKind::Shell(words) => line.operands(&json(words)),
            InstructionKind::Healthcheck(healthcheck) => line.healthcheck(healthcheck),
            InstructionKind::Onbuild(onbuild) => {
                let inner = self.whole(&onbuild.instruction);
                line.word(&inner.text);
                line.heredocs = inner.heredocs;
            }
        }
        line
    }
}

impl Line {
    fn write(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        let mut end = self.text.chars().rev();
        if end.next() == Some(self.escape) && end.next() != Some(self.escape) {
            // The line must not go on. It was written with a blank that is trimmed but, unlike
            // an ordinary one, doesn't make the character before it a continuation.
            f.write_char('\u{a0}')?;
        }
        f.write_char('\n')?;
        self.heredocs
            .iter()
            .try_for_each(|heredoc| writeln!(f, "{}{}", heredoc.content, heredoc.name))
    }

    fn word(&mut self, word: &str) {
        if !word.is_empty() {
            self.text.push(' ');
            self.text.push_str(word);
        }
    }

    /// The text behind the flags, kept from being taken for one.
    fn operands(&mut self, text: &str) {
        if text.starts_with("--") {
            self.word("--");
        }
        self.word(text);
    }

    fn flag(&mut self, name: &str, value: Option<&Spanned<String>>) {
        let Some(value) = value else { return };
        let special = |c: char| c.is_whitespace() || matches!(c, '\'' | '"') || c == self.escape;
        let value = if value.value.contains(special) {
            let mut quoted = String::from("\"");
            for c in value.value.chars() {
                if c == '"' || c == self.escape {
                    quoted.push(self.escape);
                }
                quoted.push(c);
            }
            Cow::Owned(quoted + "\"")
        } else {
            Cow::Borrowed(value.value.as_str())
        };
        self.word(&format!("--{name}={value}"));
    }

    fn switch(&mut self, name: &str, value: Option<bool>) {
        match value {
            Some(true) => self.word(&format!("--{name}")),
            Some(false) => self.word(&format!("--{name}=false")),
            None => {}
        }
    }

    fn args(&mut self, args: &[ArgPair]) {
        let words = args.iter().map(|arg| match &arg.value {
            Some(value) => format!("{}={}", arg.name.value, value.value),
            None => arg.name.value.clone(),
        });
        self.operands(&words.collect::<Vec<_>>().join(" "));
    }

    fn pairs(&mut self, pairs: &[KeyValue]) {
        let words = pairs.iter().map(|pair| {
            let separator = if pair.legacy { ' ' } else { '=' };
            format!("{}{separator}{}", pair.key.value, pair.value.value)
        });
        self.operands(&words.collect::<Vec<_>>().join(" "));
    }

    fn run(&mut self, run: &Run) {
        for mount in &run.mounts {
            self.flag("mount", Some(&mount.text));
        }
        self.flag("network", run.network.as_ref());
        self.flag("security", run.security.as_ref());
        for device in &run.devices {
            self.flag("device", Some(device));
        }
        self.operands(&written(&run.command));
        self.heredocs.clone_from(&run.heredocs);
    }

    fn copy(&mut self, copy: &Copy) {
        self.flag("from", copy.from.as_ref());
        self.flag("chown", copy.chown.as_ref());
        self.flag("chmod", copy.chmod.as_ref());
        self.switch("link", copy.link.then_some(true));
        self.switch("parents", copy.parents.then_some(true));
        copy.excludes.iter().for_each(|pattern| self.flag("exclude", Some(pattern)));
        self.files(&copy.sources, &copy.dest);
    }

    fn add(&mut self, add: &Add) {
        self.flag("chown", add.chown.as_ref());
        self.flag("chmod", add.chmod.as_ref());
        self.switch("link", add.link.then_some(true));
        add.excludes.iter().for_each(|pattern| self.flag("exclude", Some(pattern)));
        self.flag("checksum", add.checksum.as_ref());
        self.switch("keep-git-dir", add.keep_git_dir);
        self.switch("unpack", add.unpack);
        self.files(&add.sources, &add.dest);
    }

    fn files(&mut self, sources: &[Source], dest: &Spanned<String>) {
        let paths: Option<Vec<_>> = sources
            .iter()
            .map(|source| match source {
                Source::Path(path) => Some(path),
                Source::Heredoc(_) => None,
            })
            .chain([Some(dest)])
            .collect();
        if let Some(paths) = paths {
            return self.list(&paths);
        }
        let mut words = Vec::with_capacity(sources.len() + 1);
        for source in sources {
            match source {
                Source::Path(path) => words.push(path.value.clone()),
                Source::Heredoc(heredoc) => {
                    words.push(introduce(heredoc));
                    self.heredocs.push(heredoc.clone());
                }
            }
        }
        words.push(dest.value.clone());
        self.operands(&words.join(" "));
    }

    /// Words as they are where that is safe, else in the JSON form.
    fn list(&mut self, words: &[&Spanned<String>]) {
        let plain = |word: &&Spanned<String>| {
            let word = word.value.as_str();
            !word.is_empty()
                && !word.contains(|c: char| c.is_whitespace() || c.is_control())
                && !word.contains("<<")
                && !word.starts_with('[')
                && !word.ends_with(self.escape)
        };
        if words.iter().all(plain) {
            let words: Vec<_> = words.iter().map(|word| word.value.as_str()).collect();
            self.operands(&words.join(" "));
        } else {
            self.operands(&json(words.iter().map(|word| &word.value)));
        }
    }

    fn healthcheck(&mut self, healthcheck: &Healthcheck) {
        for (name, value) in [
            ("interval", healthcheck.interval),
            ("timeout", healthcheck.timeout),
            ("start-period", healthcheck.start_period),
            ("start-interval", healthcheck.start_interval),
        ] {
            if let Some(duration) = value {
                self.word(&format!("--{name}={}", format_duration(duration)));
            }
        }
        if let Some(retries) = healthcheck.retries {
            self.word(&format!("--retries={retries}"));
        }
        match &healthcheck.test {
            Some(command) => self.word(&format!("CMD {}", written(command))),
            None => self.word("NONE"),
        }
    }
}

fn comment(f: &mut Formatter<'_>, comment: Option<&str>) -> fmt::Result {
    comment.map_or(Ok(()), |text| text.lines().try_for_each(|line| writeln!(f, "# {line}")))
}

fn join(words: &[Spanned<String>]) -> String {
    words.iter().map(Spanned::as_str).collect::<Vec<_>>().join(" ")
}

fn written(command: &Command) -> Cow<'_, str> {
    match command {
        Command::Shell(text) => Cow::Borrowed(text),
        Command::Exec(words) => Cow::Owned(json(words)),
    }
}

/// `["a", "b"]`
fn json<'w>(words: impl IntoIterator<Item = &'w String>) -> String {
    let quote = |word: &String| serde_json::Value::from(word.as_str()).to_string();
    let words: Vec<_> = words.into_iter().map(quote).collect();
    format!("[{}]", words.join(", "))
}
