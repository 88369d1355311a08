//! The variables an instruction can see.

use std::collections::HashMap;

use bld_dockerfile::expand;

use crate::op::Environment;

/// A map that keeps the order in which names were first set.
#[derive(Debug, Clone)]
pub(crate) struct Ordered<V> {
    entries: Vec<(String, V)>,
    positions: HashMap<String, usize>,
}

impl<V> Default for Ordered<V> {
    fn default() -> Self {
        Self { entries: Vec::new(), positions: HashMap::new() }
    }
}

impl<V> Ordered<V> {
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.positions.get(name).map(|&position| &self.entries[position].1)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.positions.get(name).map(|&position| &mut self.entries[position].1)
    }

    /// Sets `name`, in place if it is known.
    pub(crate) fn set(&mut self, name: &str, value: V) {
        if let Some(old) = self.get_mut(name) {
            *old = value;
        } else {
            self.positions.insert(name.to_owned(), self.entries.len());
            self.entries.push((name.to_owned(), value));
        }
    }

    /// Forgets `name`. Takes as long as there are names.
    pub(crate) fn remove(&mut self, name: &str) {
        if self.positions.remove(name).is_some() {
            self.entries.retain(|(known, _)| known != name);
            let entries = self.entries.iter().enumerate();
            self.positions = entries.map(|(at, (name, _))| (name.clone(), at)).collect();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &V)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl expand::Env for Ordered<String> {
    fn get(&self, name: &str) -> Option<&str> {
        Ordered::get(self, name).map(String::as_str)
    }
}

/// A declared build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Arg {
    /// None: declared and not set, which is not the same as set to nothing.
    value: Option<String>,
    /// False once an `ENV` of the same name came later, and for arguments that only steer the
    /// builder.
    visible: bool,
}

/// The variables of a stage: the environment of the image, and the declared build arguments.
///
/// Of an `ENV` and an `ARG` of the same name the later one is seen; only the `ENV` is kept in the
/// image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    image: Ordered<String>,
    args: Ordered<Arg>,
    process: Option<Environment>,
    /// What the base sets is not known, because it could not be found.
    pub(super) open: bool,
}

impl Scope {
    /// The scope at the start of a stage, from the `NAME=value` list of its base.
    pub(crate) fn from_image(env: &[String]) -> Self {
        let mut scope = Self::default();
        for pair in env {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            scope.set_env(name, value.to_owned());
        }
        scope
    }

    /// `ENV`: seen from now on, and kept in the image.
    pub(crate) fn set_env(&mut self, name: &str, value: String) {
        self.image.set(name, value);
        if let Some(arg) = self.args.get_mut(name) {
            arg.visible = false;
        }
        self.process = None;
    }

    /// `ARG`: seen from now on, and not kept in the image. Declaring it again without a value
    /// leaves the value it has.
    pub(crate) fn declare(&mut self, name: &str, value: Option<String>, visible: bool) {
        if value.is_some() || self.args.get(name).is_none() {
            self.args.set(name, Arg { value, visible });
            self.process = None;
        }
    }

    /// Whether `name` was declared with `ARG`, be it set or not.
    pub(crate) fn is_declared(&self, name: &str) -> bool {
        self.args.get(name).is_some()
    }

    /// The value of a declared argument.
    pub(crate) fn arg(&self, name: &str) -> Option<&str> {
        self.args.get(name)?.value.as_deref()
    }

    /// All names that have a value.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.image.names().chain(self.visible_args())
    }

    /// The environment of the image, as it is stored.
    pub(crate) fn image_env(&self) -> Vec<String> {
        self.image.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// The environment of a process: what the image has, in its order, then the arguments. Shared
    /// between all processes that see the same.
    pub(crate) fn process_env(&mut self) -> Environment {
        if let Some(process) = &self.process {
            return process.clone();
        }
        let only_arg = |name: &str| self.image.get(name).is_none();
        let names = self.image.names().chain(self.visible_args().filter(|name| only_arg(name)));
        let value = |name: &str| expand::Env::get(self, name).unwrap_or_default().to_owned();
        let process: Environment = names.map(|name| (name.to_owned(), value(name))).collect();
        self.process = Some(process.clone());
        process
    }

    /// How many variables at the end of `env`, the [process environment](Self::process_env), are
    /// build arguments.
    pub(crate) fn count_arguments(&self, env: &Environment) -> usize {
        env.len().saturating_sub(self.image.names().count())
    }

    fn visible_args(&self) -> impl Iterator<Item = &str> {
        let visible = self.args.iter().filter(|(_, arg)| arg.visible && arg.value.is_some());
        visible.map(|(name, _)| name)
    }

    /// The declared arguments as the history of a `RUN` shows them: `|2 a=1 b=2 `, or nothing.
    pub(crate) fn history_prefix(&self) -> String {
        if self.args.is_empty() {
            return String::new();
        }
        let mut prefix = format!("|{} ", self.args.len());
        for (name, arg) in self.args.iter() {
            let seen = expand::Env::get(self, name);
            let value = seen.or(arg.value.as_deref()).unwrap_or_default();
            prefix.extend([name, "=", value, " "]);
        }
        prefix
    }
}

impl expand::Env for Scope {
    fn get(&self, name: &str) -> Option<&str> {
        let arg = self.args.get(name).filter(|arg| arg.visible);
        let value = arg.and_then(|arg| arg.value.as_ref()).or_else(|| self.image.get(name));
        value.map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'a>(scope: &'a Scope, name: &str) -> Option<&'a str> {
        expand::Env::get(scope, name)
    }

    #[test]
    fn the_later_of_env_and_arg_is_seen() {
        let mut scope = Scope::from_image(&["PATH=/bin".to_owned(), "A=image".to_owned()]);
        scope.declare("A", Some("arg".to_owned()), true);
        assert_eq!(get(&scope, "A"), Some("arg"));
        assert_eq!(scope.image_env(), ["PATH=/bin", "A=image"]);
        scope.set_env("A", "env".to_owned());
        assert_eq!(get(&scope, "A"), Some("env"));
        assert_eq!(scope.history_prefix(), "|1 A=env ");
    }

    #[test]
    fn an_unset_argument_is_not_an_empty_one() {
        let mut scope = Scope::default();
        scope.declare("none", None, true);
        scope.declare("empty", Some(String::new()), true);
        assert_eq!(get(&scope, "none"), None);
        assert_eq!(get(&scope, "empty"), Some(""));
        assert_eq!(scope.process_env()[..], [("empty".to_owned(), String::new())]);
        assert_eq!(scope.history_prefix(), "|2 none= empty= ");
    }

    #[test]
    fn declaring_again_keeps_position_and_value() {
        let mut scope = Scope::default();
        scope.declare("f", Some("1".to_owned()), true);
        scope.declare("g", Some("2".to_owned()), true);
        scope.declare("f", Some("3".to_owned()), true);
        scope.declare("f", None, true);
        assert_eq!(scope.history_prefix(), "|2 f=3 g=2 ");
    }

    #[test]
    fn processes_share_an_environment_until_it_changes() {
        let mut scope = Scope::from_image(&["A=1".to_owned()]);
        let first = scope.process_env();
        assert_eq!(first.as_ptr(), scope.process_env().as_ptr());
        scope.set_env("B", "2".to_owned());
        assert_eq!(scope.process_env().len(), 2);
        assert_eq!(first.len(), 1);
    }
}
