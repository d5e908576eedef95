//! Field masks of lists: which fields of their records are given. Owns the fields' names; a mask that names another is refused.

use super::invalid;
use crate::v1::{Ban, Neighbour, Peer};
use prost_types::FieldMask;
use tonic::Status;

/// Characters of an unknown path that are told; longer than any field's name.
const PATH_CHARACTERS_SHOWN: usize = 64;

/// Leaves a field out.
type Clear<T> = fn(&mut T);

/// A record of a list.
pub(super) trait Masked: 'static {
    /// What one is called.
    const KIND: &'static str;
    /// Its fields, and how each is left out.
    const FIELDS: &'static [(&'static str, Clear<Self>)];
}

impl Masked for Peer {
    const KIND: &'static str = "a peer";
    const FIELDS: &'static [(&'static str, Clear<Self>)] = &[
        ("slot", |peer| peer.slot = 0),
        ("peer", |peer| peer.peer.clear()),
        ("state", |peer| peer.state = 0),
        ("remote", |peer| peer.remote.clear()),
        ("candidates", |peer| peer.candidates.clear()),
        ("joined_unix_ms", |peer| peer.joined_unix_ms = 0),
        ("weight", |peer| peer.weight = 0),
        ("blocked", |peer| peer.blocked = false),
        ("missing_ratio", |peer| peer.missing_ratio = None),
        ("weight_limit", |peer| peer.weight_limit = None),
    ];
}

impl Masked for Neighbour {
    const KIND: &'static str = "a teammate";
    const FIELDS: &'static [(&'static str, Clear<Self>)] = &[
        ("slot", |neighbour| neighbour.slot = 0),
        ("peer", |neighbour| neighbour.peer.clear()),
        ("linked", |neighbour| neighbour.linked = false),
        ("blocked", |neighbour| neighbour.blocked = false),
        ("candidates", |neighbour| neighbour.candidates.clear()),
        ("since_unix_ms", |neighbour| neighbour.since_unix_ms = 0),
    ];
}

impl Masked for Ban {
    const KIND: &'static str = "a ban";
    const FIELDS: &'static [(&'static str, Clear<Self>)] =
        &[("peer", |ban| ban.peer.clear()), ("remaining_ms", |ban| ban.remaining_ms = 0)];
}

/// Which fields of records are given.
pub(super) struct Mask<T>(Vec<Clear<T>>);

impl<T: Masked> Mask<T> {
    /// All fields where none is named.
    ///
    /// # Errors
    ///
    /// A path names no field.
    pub(super) fn read(mask: Option<&FieldMask>) -> Result<Self, Status> {
        let paths = mask.map_or(&[][..], |mask| &mask.paths);
        if let Some(unknown) = paths.iter().find(|path| T::FIELDS.iter().all(|(name, _)| name != path)) {
            let known: Vec<&str> = T::FIELDS.iter().map(|(name, _)| *name).collect();
            let unknown: String = unknown.chars().take(PATH_CHARACTERS_SHOWN).collect();
            return Err(invalid(
                "read_mask",
                format!("{unknown:?} is no field of {}; known are {}", T::KIND, known.join(", ")),
            ));
        }
        let left_out = |(name, clear): &(&str, Clear<T>)| {
            let is_given = paths.is_empty() || paths.iter().any(|path| path == name);
            (!is_given).then_some(*clear)
        };
        Ok(Self(T::FIELDS.iter().filter_map(left_out).collect()))
    }

    /// The record with these fields alone.
    pub(super) fn apply(&self, mut record: T) -> T {
        for clear in &self.0 {
            clear(&mut record);
        }
        record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;
    use tonic::Code;

    fn peer() -> Peer {
        Peer {
            slot: 1,
            peer: "p".to_owned(),
            state: 2,
            remote: "r".to_owned(),
            candidates: vec!["c".to_owned()],
            joined_unix_ms: 4,
            weight: 5,
            blocked: true,
            missing_ratio: Some(0.5),
            weight_limit: Some(6),
        }
    }

    fn neighbour() -> Neighbour {
        Neighbour {
            slot: 1,
            peer: "p".to_owned(),
            linked: true,
            blocked: true,
            candidates: vec!["c".to_owned()],
            since_unix_ms: 2,
        }
    }

    fn masked<T: Masked>(record: T, paths: &[&str]) -> Result<T, Status> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        Mask::read(Some(&FieldMask { paths })).map(|mask| mask.apply(record))
    }

    /// `record` has something in each of its fields.
    fn check<T: Masked + Clone + Debug + Default + PartialEq>(record: &T) {
        assert_eq!(&Mask::read(None).unwrap().apply(record.clone()), record);
        assert_eq!(&masked(record.clone(), &[]).unwrap(), record);
        let names: Vec<&str> = T::FIELDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(&masked(record.clone(), &names).unwrap(), record);
        for (name, clear) in T::FIELDS {
            let one = masked(record.clone(), &[name]).unwrap();
            let mut nothing = one.clone();
            clear(&mut nothing);
            assert_ne!(one, T::default(), "{name}");
            assert_eq!(nothing, T::default(), "{name} alone");
        }
        let status = masked(record.clone(), &["peer", "adress"]).unwrap_err();
        let (code, message) = (status.code(), status.message());
        assert!(code == Code::InvalidArgument && message.contains("\"adress\" is no field of"), "{status}");
        assert!(message.contains(T::KIND) && message.contains(&names.join(", ")), "{status}");
    }

    /// A mask gives exactly what it names, each field alone and all of them by default.
    #[test]
    fn masks_give_what_they_name() {
        check(&peer());
        check(&neighbour());
        check(&Ban { peer: "p".to_owned(), remaining_ms: 1 });
    }
}
