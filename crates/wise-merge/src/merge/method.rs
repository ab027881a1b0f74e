//! The merges by name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::input::check_density;
use super::{Dare, DareTies, Linear, Magnitude, Merge, Sign, Slerp, Ties};
use crate::{Error, Result};

/// Which merge, as named in configuration files and on the command line.
///
/// ```
/// use wise_merge::MergeMethod;
///
/// let method: MergeMethod = "dare_ties".parse()?;
/// let merged = method.build(1.0, 42)?.merge(&[1.0, 2.0], &[&[0.5, 0.0]], &[1.0])?;
/// assert_eq!(merged, [1.5, 2.0]);
/// # Ok::<(), wise_merge::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeMethod {
    /// [`Ties`]
    #[default]
    Ties,
    /// [`Dare`]
    Dare,
    /// [`DareTies`]
    DareTies,
    /// [`Magnitude`]
    Magnitude,
    /// [`Sign`]
    Sign,
    /// [`Linear`]
    Linear,
    /// [`Slerp`]
    Slerp,
}

impl MergeMethod {
    /// Every method.
    pub const ALL: [Self; 7] = [
        Self::Ties,
        Self::Dare,
        Self::DareTies,
        Self::Magnitude,
        Self::Sign,
        Self::Linear,
        Self::Slerp,
    ];

    /// Density of all WISE experiments.
    pub const DEFAULT_DENSITY: f64 = 0.53;

    /// The name in configuration files: `ties`, `dare_ties`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ties => "ties",
            Self::Dare => "dare",
            Self::DareTies => "dare_ties",
            Self::Magnitude => "magnitude",
            Self::Sign => "sign",
            Self::Linear => "linear",
            Self::Slerp => "slerp",
        }
    }

    /// The merge itself. `sign`, `linear` and `slerp` have no use for the density, and only the `dare`s for the seed.
    ///
    /// # Errors
    /// [`Error::Density`] if the density is not in (0, 1], whatever the method: before hours of training, not after.
    pub fn build(self, density: f64, seed: u64) -> Result<Box<dyn Merge>> {
        check_density(density)?;
        Ok(match self {
            Self::Ties => Box::new(Ties { density }),
            Self::Dare => Box::new(Dare { density, seed }),
            Self::DareTies => Box::new(DareTies { density, seed }),
            Self::Magnitude => Box::new(Magnitude { density }),
            Self::Sign => Box::new(Sign),
            Self::Linear => Box::new(Linear),
            Self::Slerp => Box::new(Slerp),
        })
    }
}

impl fmt::Display for MergeMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for MergeMethod {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|method| method.name() == name);
        found.ok_or_else(|| Error::Method {
            got: name.into(),
            expected: Self::ALL.map(Self::name).join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_the_same_everywhere() {
        for method in MergeMethod::ALL {
            let written = serde_json::to_string(&method).unwrap();
            assert_eq!(written, format!("\"{method}\""));
            assert_eq!(
                serde_json::from_str::<MergeMethod>(&written).unwrap(),
                method
            );
            assert_eq!(method.name().parse(), Ok(method));
        }
    }

    #[test]
    fn an_unknown_name_lists_the_choices() {
        let error = "Ties".parse::<MergeMethod>().unwrap_err().to_string();
        assert_eq!(
            error,
            "merge method is `Ties`, expected one of ties, dare, dare_ties, magnitude, sign, linear, slerp"
        );
    }

    #[test]
    fn a_density_out_of_range_is_refused_before_merging() {
        for method in MergeMethod::ALL {
            assert!(method.build(0.0, 0).is_err(), "{method}");
        }
    }
}
