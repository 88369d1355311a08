//! `ONBUILD`: the instructions a base wants to be run first.

use bld_dockerfile::{Diagnostic, Instruction, InstructionKind, Span};

use super::Lowering;
use super::step::Step;

/// The triggers of the base of a stage.
#[derive(Debug, Default)]
pub(super) enum Triggers {
    /// There are none.
    #[default]
    None,
    /// Those of an image, which stand in no file of ours, and where they are said to stand.
    Image(Vec<Instruction>, Span),
    /// Those of another stage of the file.
    Stage(Vec<Instruction>),
}

impl Triggers {
    /// The triggers as steps of the stage.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let (instructions, place): (&[_], _) = match self {
            Self::None => (&[], None),
            Self::Image(instructions, place) => (instructions, Some(*place)),
            Self::Stage(instructions) => (instructions, None),
        };
        instructions.iter().map(move |instruction| match place {
            Some(place) => Step::foreign(instruction, place),
            None => Step::trigger(instruction),
        })
    }
}

impl Lowering<'_> {
    /// Parses the triggers of an image that a `FROM` at `place` names.
    pub(super) fn image_triggers(&mut self, texts: &[String], place: Span) -> Triggers {
        let mut instructions = Vec::with_capacity(texts.len());
        for text in texts {
            let (instruction, found) = bld_dockerfile::parse_instruction(text);
            for error in found.into_iter().filter(Diagnostic::is_error) {
                let message = format!("in the ONBUILD trigger {text:?}: {}", error.message);
                self.report.push(Diagnostic { message, span: place, ..error });
            }
            instructions.extend(instruction);
        }
        Triggers::Image(instructions, place)
    }

    /// The triggers of stage `parent` for a stage that starts from it.
    pub(super) fn stage_triggers(&self, parent: usize) -> Triggers {
        if self.stages[parent].as_ref().is_some_and(|stage| stage.replaced) {
            return Triggers::None;
        }
        let instructions = self.file.stages[parent].instructions.iter();
        let triggers = instructions.filter_map(|instruction| match &instruction.kind {
            InstructionKind::Onbuild(onbuild) => Some((*onbuild.instruction).clone()),
            _ => None,
        });
        Triggers::Stage(triggers.collect())
    }
}
