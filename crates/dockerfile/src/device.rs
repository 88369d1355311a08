//! `RUN --device`: a device by its CDI name.

use crate::csv;
use crate::suggest::{did_you_mean, suggest};
use crate::value::parse_bool;

/// The options of a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceSpec {
    /// The name, such as `vendor.example/class=name`; empty means every device that is granted.
    pub name: String,
    /// Without the device the step fails instead of running without it.
    pub required: bool,
}

/// Options that make no valid device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// A double quote is not closed, or opens in the middle of a field.
    #[error("misplaced quote in device `{0}`")]
    Quote(String),
    /// There are two names.
    #[error("device name already set to `{0}`")]
    NamedTwice(String),
    /// An option is not known, or has no value.
    #[error("unexpected device option `{option}`{}", did_you_mean(.suggestion.as_deref()))]
    UnknownOption {
        /// The option.
        option: String,
        /// The nearest known one.
        suggestion: Option<String>,
    },
    /// `required` is neither true nor false.
    #[error("invalid value `{0}` for device option `required`: expected true or false")]
    Required(String),
}

impl DeviceSpec {
    /// Parses `name[,required]` or `name=...,required=...`.
    pub fn parse(text: &str) -> Result<Self, DeviceError> {
        let fields = csv::fields(text).map_err(|_| DeviceError::Quote(text.to_owned()))?;
        let mut device = Self::default();
        for field in &fields {
            let (key, value) = field.pair();
            match (key.to_ascii_lowercase().as_str(), value) {
                ("required", None) => device.required = true,
                ("required", Some(value)) => {
                    device.required =
                        parse_bool(value).ok_or_else(|| DeviceError::Required(value.to_owned()))?;
                }
                ("name", Some(value)) if device.name.is_empty() => {
                    value.clone_into(&mut device.name);
                }
                ("name", Some(_)) => return Err(DeviceError::NamedTwice(device.name)),
                // A CDI name holds a `=` itself, so whatever comes first is the name.
                _ if device.name.is_empty() => device.name.clone_from(&field.text),
                (key, _) => {
                    return Err(DeviceError::UnknownOption {
                        option: field.text.clone(),
                        suggestion: suggest(key, ["name", "required"].into_iter())
                            .map(str::to_owned),
                    });
                }
            }
        }
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_unknown_field_is_the_name() {
        let spec = |name: &str, required| Ok(DeviceSpec { name: name.to_owned(), required });
        assert_eq!(
            DeviceSpec::parse("vendor1.com/device=foo"),
            spec("vendor1.com/device=foo", false)
        );
        assert_eq!(DeviceSpec::parse("v.com/d=*,required"), spec("v.com/d=*", true));
        assert_eq!(DeviceSpec::parse("name=x,required=false"), spec("x", false));
        assert_eq!(DeviceSpec::parse("required"), spec("", true));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["a,b", "name=a,name=b", "a,required=maybe", "a\"", "a,requird=1"] {
            assert!(DeviceSpec::parse(text).is_err(), "{text}");
        }
    }
}
