//! Names of groups for people: `meta`, `user/3`, `orders/17`. It must not know what a group holds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of the family in a name. 63, as a DNS label, so that a name fits into metric labels, log
/// fields and folder names. A longer one is refused.
const FAMILY_BYTES_MAX: usize = 63;

/// The name of a group: a family, and the number of the shard if the family has shards.
///
/// A family begins with a lower-case letter and goes on with lower-case letters, digits and `-`, at
/// most 63 bytes. A shard is a canonical decimal number: `user/3` is a name, `user/03` is none, so
/// that one group has one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName {
    family: String,
    shard: Option<u32>,
}

/// Why a text is no name of a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no name of a group: {reason}")]
#[non_exhaustive]
pub struct InvalidGroupName {
    /// The text, cut to 80 characters.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl InvalidGroupName {
    fn new(name: &str, reason: &'static str) -> Self {
        let name = name.chars().take(80).collect();
        Self { name, reason }
    }
}

impl GroupName {
    /// The name of a group without shards.
    ///
    /// # Errors
    ///
    /// [`InvalidGroupName`] if `family` has another form than the one above.
    pub fn single(family: &str) -> Result<Self, InvalidGroupName> {
        check_family(family).map_err(|reason| InvalidGroupName::new(family, reason))?;
        let family = family.to_owned();
        Ok(Self {
            family,
            shard: None,
        })
    }

    /// The name of a shard of a family whose name was checked.
    pub(crate) fn of_shard(family: &str, shard: u32) -> Self {
        Self {
            family: family.to_owned(),
            shard: Some(shard),
        }
    }

    /// Reads a name as [`Display`](fmt::Display) writes it.
    ///
    /// # Errors
    ///
    /// [`InvalidGroupName`] if it has another form than the one above.
    pub fn parse(name: &str) -> Result<Self, InvalidGroupName> {
        let Some((family, shard)) = name.split_once('/') else {
            return Self::single(name);
        };
        let invalid = |reason| InvalidGroupName::new(name, reason);
        check_family(family).map_err(invalid)?;
        let digits = !shard.is_empty() && shard.bytes().all(|byte| byte.is_ascii_digit());
        if !digits {
            return Err(invalid("behind the `/` stands no number"));
        }
        if shard.len() > 1 && shard.starts_with('0') {
            return Err(invalid("the number of the shard begins with 0"));
        }
        let shard = shard
            .parse()
            .map_err(|_| invalid("the number of the shard is over 4294967295"))?;
        Ok(Self::of_shard(family, shard))
    }

    /// The family; the whole name of a group without shards.
    #[must_use]
    pub fn family(&self) -> &str {
        &self.family
    }

    /// The number of the shard, if this is one.
    #[must_use]
    pub const fn shard(&self) -> Option<u32> {
        self.shard
    }
}

/// What is wrong with a family's name, if anything is.
fn check_family(family: &str) -> Result<(), &'static str> {
    if family.is_empty() {
        return Err("it is empty");
    }
    if family.len() > FAMILY_BYTES_MAX {
        return Err("its family is longer than 63 bytes");
    }
    if !family.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err("it does not begin with a lower-case letter");
    }
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !family.bytes().all(allowed) {
        return Err("it has a character that is no lower-case letter, digit or `-`");
    }
    Ok(())
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shard {
            Some(shard) => write!(f, "{}/{shard}", self.family),
            None => f.write_str(&self.family),
        }
    }
}

impl FromStr for GroupName {
    type Err = InvalidGroupName;

    fn from_str(name: &str) -> Result<Self, InvalidGroupName> {
        Self::parse(name)
    }
}

impl TryFrom<String> for GroupName {
    type Error = InvalidGroupName;

    fn try_from(name: String) -> Result<Self, InvalidGroupName> {
        Self::parse(&name)
    }
}

impl From<GroupName> for String {
    fn from(name: GroupName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_written_as_they_are_read() {
        for name in ["meta", "user/0", "user/3", "orders/17", "a-1/4294967295"] {
            let parsed = GroupName::parse(name).unwrap();
            assert_eq!(parsed.to_string(), name);
            assert_eq!(name.parse(), Ok(parsed));
        }
        let name = GroupName::parse("orders/17").unwrap();
        assert_eq!((name.family(), name.shard()), ("orders", Some(17)));
    }

    #[test]
    fn one_group_has_one_name() {
        for (name, reason) in [
            ("", "empty"),
            ("/1", "empty"),
            ("Meta", "begin"),
            ("1st", "begin"),
            ("-a", "begin"),
            ("me ta", "character"),
            ("user_x/1", "character"),
            ("naïve", "character"),
            ("user/", "no number"),
            ("user/+1", "no number"),
            ("user/1/2", "no number"),
            ("user/01", "begins with 0"),
            ("user/4294967296", "over"),
        ] {
            let error = GroupName::parse(name).unwrap_err();
            assert!(error.reason.contains(reason), "{name}: {error}");
        }
    }

    #[test]
    fn a_family_at_the_limit_and_one_past_it() {
        let limit = "f".repeat(FAMILY_BYTES_MAX);
        assert!(GroupName::single(&limit).is_ok());
        assert!(GroupName::parse(&format!("{limit}/1")).is_ok());
        let past = "f".repeat(FAMILY_BYTES_MAX + 1);
        assert!(GroupName::single(&past).is_err());
        // What is wrong is shown, but not at any length.
        let absurd = "f".repeat(10_000);
        assert_eq!(GroupName::single(&absurd).unwrap_err().name.len(), 80);
    }
}
