//! The stages by name, and what each one is built from.

use std::collections::{BTreeMap, HashMap};

use bld_dockerfile::expand::Expander;
use bld_dockerfile::{Diagnostic, Dockerfile, InstructionKind, Span, Spanned};

use super::globals::Globals;
use super::report::did_you_mean;

/// What a `FROM` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Base {
    /// Nothing: `scratch`.
    Scratch,
    /// An earlier stage.
    Stage(usize),
    /// An image or a named context.
    Image(String),
}

/// What the rest of the file says about one stage.
#[derive(Debug)]
pub(super) struct Entry {
    /// The name, in lower case.
    pub(super) name: Option<String>,
    /// What it starts from.
    pub(super) base: Result<Base, Diagnostic>,
    /// The earlier stages that its instructions name.
    pub(super) uses: Vec<usize>,
}

/// All stages of a file.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
    /// How many stages there are.
    count: usize,
    /// Where each name is given, in order: a name may be given again.
    names: HashMap<String, Vec<usize>>,
    /// Names that mean another stage's name, in lower case.
    aliases: HashMap<String, String>,
    /// There is one stage and nothing else to copy or mount from: step names leave it out.
    pub(super) lonely: bool,
}

/// What a `--from` or `from=` names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An earlier stage.
    Earlier(usize),
    /// This stage or a later one.
    NotYet(usize),
    /// No stage has this number; there are so many.
    NoSuchIndex(usize),
    /// No stage.
    Nothing,
}

impl Table {
    pub(super) fn new(
        file: &Dockerfile,
        globals: &Globals,
        expander: Expander,
        aliases: &BTreeMap<String, String>,
    ) -> Self {
        let aliases =
            aliases.iter().map(|(name, stage)| (name.to_lowercase(), stage.to_lowercase()));
        let mut table = Self {
            entries: Vec::new(),
            count: file.stages.len(),
            names: HashMap::new(),
            aliases: aliases.collect(),
            lonely: false,
        };
        // Names first: an instruction may name a later stage, which is an error of its own.
        for (index, stage) in file.stages.iter().enumerate() {
            if let Some(name) = &stage.from.name {
                table.names.entry(name.value.to_lowercase()).or_default().push(index);
            }
        }
        for (index, stage) in file.stages.iter().enumerate() {
            let image = &stage.from.image;
            let base = match expander.word(&image.value, &globals.vars) {
                Err(error) => Err(error.diagnostic(image)),
                Ok(expanded) if expanded.text.is_empty() => Err(blank(image, &expanded.unset)),
                Ok(expanded) => Ok(table.base(expanded.text, index)),
            };
            let name = stage.from.name.as_ref().map(|name| name.value.to_lowercase());
            let froms = stage.instructions.iter().flat_map(|step| froms(&step.kind));
            let uses = froms.filter_map(|from| match table.find(&from, index) {
                Found::Earlier(stage) => Some(stage),
                _ => None,
            });
            let uses = uses.collect();
            table.entries.push(Entry { name, base, uses });
        }
        let mounts_or_copies = |kind: &InstructionKind| match kind {
            InstructionKind::Copy(copy) => copy.from.is_some(),
            InstructionKind::Run(run) => !run.mounts.is_empty(),
            _ => false,
        };
        table.lonely = match file.stages.as_slice() {
            [stage] => !stage.instructions.iter().any(|step| mounts_or_copies(&step.kind)),
            _ => false,
        };
        table
    }

    fn base(&self, image: String, index: usize) -> Base {
        if image == "scratch" {
            return Base::Scratch;
        }
        match self.find(&image, index) {
            Found::Earlier(stage) => Base::Stage(stage),
            _ => Base::Image(image),
        }
    }

    /// What stage `index` means by `name`: the nearest earlier stage of that name or number.
    pub(super) fn find(&self, name: &str, index: usize) -> Found {
        let name = name.to_lowercase();
        let name = self.aliases.get(&name).unwrap_or(&name);
        if let Some(given) = self.names.get(name) {
            return match given.partition_point(|stage| *stage < index) {
                0 => Found::NotYet(given[0]),
                earlier => Found::Earlier(given[earlier - 1]),
            };
        }
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Found::Nothing;
        }
        match name.parse::<usize>() {
            Ok(stage) if stage < index => Found::Earlier(stage),
            Ok(stage) if stage < self.count => Found::NotYet(stage),
            _ => Found::NoSuchIndex(self.count),
        }
    }

    /// What is wrong with names that are to mean a stage which does not exist.
    pub(super) fn bad_aliases(&self) -> impl Iterator<Item = Diagnostic> {
        let missing = |stage: &String| self.find(stage, self.count) == Found::Nothing;
        self.aliases.iter().filter(move |(_, stage)| missing(stage)).map(|(name, stage)| {
            let near = did_you_mean(stage, self.stage_names());
            let message = format!("context {name:?}: stage {stage:?} could not be found{near}");
            Diagnostic::error(message, Span::default())
        })
    }

    /// The stage to build: the last one unless a name or a number is given.
    pub(super) fn target(&self, wanted: Option<&str>) -> Result<usize, Diagnostic> {
        let Some(last) = self.count.checked_sub(1) else {
            return Err(Diagnostic::error("there is no stage to build", Span::default()));
        };
        let Some(wanted) = wanted else { return Ok(last) };
        if let Found::Earlier(stage) = self.find(wanted, self.count) {
            return Ok(stage);
        }
        let near = did_you_mean(&wanted.to_lowercase(), self.stage_names());
        let message = format!("target stage {wanted:?} could not be found{near}");
        let mut names: Vec<_> = self.stage_names().collect();
        names.dedup();
        let help = match names.as_slice() {
            [] => format!("no stage has a name; use a number from 0 to {last}"),
            names => format!("the stages are {}", names.join(", ")),
        };
        Err(Diagnostic::error(message, Span::default()).with_help(help))
    }

    /// The stages that stage `index` names.
    pub(super) fn needs(&self, index: usize) -> impl Iterator<Item = usize> {
        let entry = &self.entries[index];
        let base = match entry.base {
            Ok(Base::Stage(stage)) => Some(stage),
            _ => None,
        };
        base.into_iter().chain(entry.uses.iter().copied())
    }

    /// What stage `index` starts from, if that is an image.
    pub(super) fn base_image(&self, index: usize) -> Option<&str> {
        match &self.entries[index].base {
            Ok(Base::Image(image)) => Some(image),
            _ => None,
        }
    }

    /// The images that the instructions of stage `index` take files from.
    pub(super) fn images(&self, file: &Dockerfile, index: usize) -> Vec<String> {
        let froms = file.stages[index].instructions.iter().flat_map(|step| froms(&step.kind));
        froms.filter(|from| from != "scratch" && self.find(from, index) == Found::Nothing).collect()
    }

    /// The names of all stages, in order.
    pub(super) fn stage_names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter_map(|entry| entry.name.as_deref())
    }

    /// The name of a stage, or `stage-N`.
    pub(super) fn label(&self, index: usize) -> String {
        let name = self.entries.get(index).and_then(|entry| entry.name.clone());
        name.unwrap_or_else(|| format!("stage-{index}"))
    }
}

/// The stages, images and contexts that an instruction takes files from.
fn froms(kind: &InstructionKind) -> Vec<String> {
    match kind {
        InstructionKind::Copy(copy) => copy.from.iter().map(|from| from.value.clone()).collect(),
        InstructionKind::Run(run) => {
            run.mounts.iter().filter_map(bld_dockerfile::Mount::from).collect()
        }
        _ => Vec::new(),
    }
}

fn blank(image: &Spanned<String>, unset: &[String]) -> Diagnostic {
    let error =
        Diagnostic::error(format!("base name ({}) should not be blank", image.value), image.span);
    match unset.first() {
        Some(name) => error.with_help(format!(
            "build with `--build-arg {name}=...`, or give it a default before the first FROM: \
             `ARG {name}=...`"
        )),
        None => error,
    }
}
