//! How a refusal is told: one of a fixed list of reasons, which decides the gRPC code, with the details of `google.rpc` that a program
//! needs to act on it. Owns that list, which `docs/operating.md` explains, and that no text of a caller grows an answer or a line.

use super::limits;
use std::{collections::HashMap, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Where the reasons are explained: the API's package.
pub(crate) const DOMAIN: &str = "p2psp.admin.v1";
/// What a key names, for `google.rpc.ResourceInfo`.
const PEER: &str = "p2psp.admin.v1.Peer";
/// Characters of a refusal's message; what callers sent is part of some.
const MESSAGE_CHARACTERS_MAX: usize = 512;
/// When a command that found no room may be tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Why a call was refused: `google.rpc.ErrorInfo.reason` of the domain `p2psp.admin.v1`. A reason keeps its name and its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No token came with it.
    NoToken,
    /// What came is nobody's token.
    WrongToken,
    /// The caller may do less than that.
    Scope,
    /// A page in a browser may be behind it.
    Browser,
    /// A field makes no sense; `google.rpc.BadRequest` names it.
    InvalidField,
    /// The page token is of another run of the process.
    StalePageToken,
    /// What it is about is not there; `google.rpc.ResourceInfo` names it.
    NotFound,
    /// Too many commands wait.
    Busy,
    /// The caller has too many calls under way.
    TooManyCalls,
    /// The process is ending.
    Ending,
    /// The watcher reads slower than the team changes.
    Resync,
    /// The request is longer than any that makes sense.
    RequestTooLarge,
    /// The request's head is longer than any that makes sense.
    HeadTooLarge,
    /// The request is compressed, which is not accepted.
    Compressed,
    /// The request cannot be read: not what the schema says.
    Malformed,
    /// There is no such service or method here.
    UnknownMethod,
    /// A fault of this process.
    Internal,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::NoToken,
        Self::WrongToken,
        Self::Scope,
        Self::Browser,
        Self::InvalidField,
        Self::StalePageToken,
        Self::NotFound,
        Self::Busy,
        Self::TooManyCalls,
        Self::Ending,
        Self::Resync,
        Self::RequestTooLarge,
        Self::HeadTooLarge,
        Self::Compressed,
        Self::Malformed,
        Self::UnknownMethod,
        Self::Internal,
    ];

    /// As `google.rpc.ErrorInfo` writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoToken => "NO_TOKEN",
            Self::WrongToken => "WRONG_TOKEN",
            Self::Scope => "SCOPE",
            Self::Browser => "BROWSER",
            Self::InvalidField => "INVALID_FIELD",
            Self::StalePageToken => "STALE_PAGE_TOKEN",
            Self::NotFound => "NOT_FOUND",
            Self::Busy => "BUSY",
            Self::TooManyCalls => "TOO_MANY_CALLS",
            Self::Ending => "ENDING",
            Self::Resync => "RESYNC",
            Self::RequestTooLarge => "REQUEST_TOO_LARGE",
            Self::HeadTooLarge => "HEAD_TOO_LARGE",
            Self::Compressed => "COMPRESSED",
            Self::Malformed => "MALFORMED",
            Self::UnknownMethod => "UNKNOWN_METHOD",
            Self::Internal => "INTERNAL",
        }
    }

    /// The code that goes with it.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::NoToken | Self::WrongToken => Code::Unauthenticated,
            Self::Scope | Self::Browser => Code::PermissionDenied,
            Self::InvalidField | Self::StalePageToken => Code::InvalidArgument,
            Self::NotFound => Code::NotFound,
            // As gRPC's own libraries answer what is larger than they take.
            Self::Busy | Self::TooManyCalls | Self::Resync | Self::RequestTooLarge | Self::HeadTooLarge => {
                Code::ResourceExhausted
            }
            Self::Ending => Code::Unavailable,
            Self::Compressed | Self::UnknownMethod => Code::Unimplemented,
            Self::Malformed | Self::Internal => Code::Internal,
        }
    }

    /// The reason of a refusal; `None` when it is none of this API's.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
        Self::ALL.into_iter().find(|reason| reason.name() == info.reason)
    }
}

/// A refusal.
pub(crate) fn refusal(reason: Reason, message: impl Into<String>) -> Status {
    detailed(reason, message.into(), &[], |_| {})
}

/// A refusal with figures or names that programs can read, and more details.
pub(crate) fn detailed(
    reason: Reason,
    message: String,
    metadata: &[(&str, &str)],
    add: impl FnOnce(&mut ErrorDetails),
) -> Status {
    let metadata: HashMap<_, _> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), clipped(value))).collect();
    let mut details = ErrorDetails::with_error_info(reason.name(), DOMAIN, metadata);
    add(&mut details);
    Status::with_error_details(reason.code(), clipped(&message), details)
}

/// A field that makes no sense.
pub(crate) fn invalid(field: &str, problem: impl Into<String>) -> Status {
    wrong_field(Reason::InvalidField, field, &problem.into())
}

/// A token of another run.
pub(super) fn stale(field: &str) -> Status {
    wrong_field(
        Reason::StalePageToken,
        field,
        "is of another run of this process: begin again with the first page",
    )
}

fn wrong_field(reason: Reason, field: &str, problem: &str) -> Status {
    detailed(reason, format!("{field}: {problem}"), &[("field", field)], |details| {
        details.add_bad_request_violation(field, clipped(problem));
    })
}

/// Someone who is not there.
pub(super) fn no_peer(peer: &str, message: impl Into<String>) -> Status {
    about(refusal(Reason::NotFound, message), peer, "")
}

/// No room for one more command.
pub(super) fn busy(message: impl Into<String>) -> Status {
    let max = limits::MUTATIONS_MAX.to_string();
    detailed(Reason::Busy, message.into(), &[("commands_max", &max)], |details| {
        details.set_retry_info(Some(RETRY));
        details.add_quota_failure_violation("commands that wait", format!("at most {max}"));
    })
}

/// A refusal that names what the command was about, and the request.
pub(super) fn about(status: Status, subject: &str, request_id: &str) -> Status {
    let mut details = status.get_error_details();
    let Some(info) = details.error_info().cloned() else { return status };
    let mut metadata = info.metadata;
    for (key, value) in [("subject", subject), ("request_id", request_id)] {
        if !value.is_empty() {
            metadata.insert(key.to_owned(), clipped(value));
        }
    }
    if status.code() == Code::NotFound {
        // A command's subject begins with the key that it is about; what it would change may follow.
        let key = subject.split(' ').next().unwrap_or_default();
        details.set_resource_info(PEER, key, "", status.message());
    }
    details.set_error_info(info.reason, info.domain, metadata);
    Status::with_error_details(status.code(), status.message(), details)
}

/// What the libraries refuse by themselves, told as everything else is.
pub(crate) fn complete(status: Status) -> Status {
    if status.get_error_details().error_info().is_some() {
        return status;
    }
    match status.code() {
        Code::OutOfRange => {
            let max = limits::REQUEST_BYTES_MAX.to_string();
            let message = format!("a request has at most {max} bytes: send a shorter one");
            detailed(Reason::RequestTooLarge, message, &[("bytes_max", &max)], |_| {})
        }
        Code::Unimplemented => {
            refusal(Reason::UnknownMethod, "no method here has this name; list them by reflection")
        }
        Code::Internal => {
            let message = format!("the request is not what the schema says: {}", status.message());
            refusal(Reason::Malformed, message)
        }
        Code::NotFound => refusal(Reason::NotFound, status.message()),
        // No refusals of the libraries that serve: ours, or of a call that is over.
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => status,
    }
}

/// A text that callers may have written, no longer than a message may be.
pub(crate) fn clipped(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARACTERS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operators find each reason, under its code, in the table; and no reason in the table that is not told.
    #[test]
    fn every_reason_is_explained() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
        let guide = std::fs::read_to_string(path).unwrap();
        for reason in Reason::ALL {
            let code = format!("{:?}", reason.code());
            let row = guide.lines().find(|line| line.starts_with(&format!("| `{}` |", reason.name())));
            let row = row.unwrap_or_else(|| panic!("{reason:?} is not explained in docs/operating.md"));
            let told: String =
                row.split('|').nth(2).unwrap().chars().filter(char::is_ascii_alphabetic).collect();
            assert!(told.eq_ignore_ascii_case(&code), "{row}");
        }
    }

    /// What comes back of a caller's text is short, whatever was sent; the limit itself, and one character more.
    #[test]
    fn texts_of_callers_do_not_grow_answers() {
        let most = "é".repeat(MESSAGE_CHARACTERS_MAX);
        assert_eq!(refusal(Reason::NotFound, most.clone()).message(), most);
        assert_eq!(refusal(Reason::NotFound, format!("{most}x")).message(), format!("{most}…"));
        let long = "x".repeat(100_000);
        let status = about(invalid("read_mask", long.clone()), &long, &long);
        assert!(status.details().len() < 8 * MESSAGE_CHARACTERS_MAX, "{} bytes", status.details().len());
    }

    /// Who is not there is named by its key, whatever else a command's subject says.
    #[test]
    fn keys_are_named_alone() {
        let status = about(refusal(Reason::NotFound, "has no seat"), "abc limit=3", "");
        assert_eq!(status.get_error_details().resource_info().unwrap().resource_name, "abc");
    }

    /// Refusals of the libraries get a reason; ours, and what is no refusal of a request, stay as they are.
    #[test]
    fn refusals_of_libraries_are_completed() {
        for (code, reason) in [
            (Code::OutOfRange, Reason::RequestTooLarge),
            (Code::Unimplemented, Reason::UnknownMethod),
            (Code::Internal, Reason::Malformed),
            (Code::NotFound, Reason::NotFound),
        ] {
            let status = complete(Status::new(code, "m"));
            assert_eq!((Reason::of(&status), status.code()), (Some(reason), reason.code()));
        }
        let ours = refusal(Reason::Internal, "a fault");
        assert_eq!(complete(ours.clone()).message(), ours.message());
        assert_eq!(Reason::of(&complete(Status::cancelled("gone"))), None);
    }
}
