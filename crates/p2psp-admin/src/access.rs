//! Who may do what: scopes, the bearer tokens that carry them, and which scope each call needs. Knows no connection; where tokens are
//! asked for is the guard's business.

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

/// Tokens of a file.
pub const TOKENS_MAX: usize = 64;
/// Fewest bytes of a token: 32 characters of hex are 128 bits, which nobody guesses.
pub const TOKEN_BYTES_MIN: usize = 32;
/// Most bytes of a token.
pub const TOKEN_BYTES_MAX: usize = 256;
/// Most bytes of a token's name.
pub const NAME_BYTES_MAX: usize = 32;

/// What a caller may do; each scope includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look: figures, members, settings without secrets, `/metrics`.
    Read,
    /// Steer the team and the log: expel, ban, unban, limits, log level.
    Operate,
    /// End the process: drain, leave.
    Admin,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "read" => Ok(Self::Read),
            "operate" => Ok(Self::Operate),
            "admin" => Ok(Self::Admin),
            _ => Err(()),
        }
    }
}

/// Someone who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// For the audit.
    pub(crate) name: Arc<str>,
    pub(crate) scope: Scope,
}

impl Caller {
    pub(crate) fn new(name: &str, scope: Scope) -> Self {
        Self { name: name.into(), scope }
    }
}

/// Bearer tokens by their digest: a token is not kept, and no comparison ends earlier for a better guess at one.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Tokens(BTreeMap<[u8; SHA256_OUTPUT_LEN], Caller>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.values()).finish()
    }
}

/// What is wrong with a token file's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct TokenError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right; never the token.
    pub problem: String,
}

impl Tokens {
    /// Reads lines of `NAME SCOPE TOKEN`; empty ones and those that begin with `#` say nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, TokenError> {
        let mut tokens = BTreeMap::new();
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            let failed = |problem: String| TokenError { line, problem };
            let words: Vec<&str> = text.split_whitespace().collect();
            let (name, scope, token) = match words.as_slice() {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                [name, scope, token] => (*name, *scope, *token),
                _ => return Err(failed("is not NAME SCOPE TOKEN".to_owned())),
            };
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
            if name.len() > NAME_BYTES_MAX || !name.bytes().all(plain) {
                let problem = format!("a name has at most {NAME_BYTES_MAX} letters, digits, and . _ - @");
                return Err(failed(problem));
            }
            let scope =
                scope.parse().map_err(|()| failed("the scope is read, operate or admin".to_owned()))?;
            if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len())
                || !token.bytes().all(|byte| byte.is_ascii_graphic())
            {
                let problem = format!(
                    "a token has {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} printable characters: `openssl rand -hex 32` makes one"
                );
                return Err(failed(problem));
            }
            if tokens.len() == TOKENS_MAX {
                return Err(failed(format!("more than {TOKENS_MAX} tokens")));
            }
            if tokens.values().any(|caller: &Caller| &*caller.name == name) {
                let problem =
                    "this name is there already: each token needs its own, by which the log tells them apart";
                return Err(failed(problem.to_owned()));
            }
            if tokens.insert(hash(token), Caller::new(name, scope)).is_some() {
                return Err(failed("this token is there already".to_owned()));
            }
        }
        if tokens.is_empty() {
            return Err(TokenError {
                line: 1,
                problem: "no token is in it, so nobody could come in".to_owned(),
            });
        }
        Ok(Self(tokens))
    }

    /// Whose token this is.
    pub(crate) fn caller(&self, token: &str) -> Option<&Caller> {
        // What no file can hold need not be hashed.
        (token.len() <= TOKEN_BYTES_MAX).then(|| self.0.get(&hash(token)))?
    }
}

fn hash(token: &str) -> [u8; SHA256_OUTPUT_LEN] {
    let hash = digest(&SHA256, token.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has its length")
}

/// What anyone may ask: whether the process lives and is ready, which probes ask without credentials.
const OPEN: [&str; 6] = [
    "/",
    "/livez",
    "/readyz",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
];

/// Everything else that is there.
const CALLS: [(&str, Scope); 24] = [
    ("/metrics", Scope::Read),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Scope::Read),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Scope::Read),
    ("/p2psp.admin.v1.RuntimeService/GetInfo", Scope::Read),
    ("/p2psp.admin.v1.RuntimeService/GetConfig", Scope::Read),
    ("/p2psp.admin.v1.RuntimeService/GetLogLevel", Scope::Read),
    ("/p2psp.admin.v1.RuntimeService/SetLogLevel", Scope::Operate),
    ("/p2psp.admin.v1.RuntimeService/Drain", Scope::Admin),
    ("/p2psp.admin.v1.SplitterService/GetChannel", Scope::Read),
    ("/p2psp.admin.v1.SplitterService/GetTeam", Scope::Read),
    ("/p2psp.admin.v1.SplitterService/ListPeers", Scope::Read),
    ("/p2psp.admin.v1.SplitterService/GetPeer", Scope::Read),
    ("/p2psp.admin.v1.SplitterService/WatchTeam", Scope::Read),
    ("/p2psp.admin.v1.SplitterService/ListBans", Scope::Read),
    ("/p2psp.admin.v1.SplitterService/ExpelPeer", Scope::Operate),
    ("/p2psp.admin.v1.SplitterService/BanPeer", Scope::Operate),
    ("/p2psp.admin.v1.SplitterService/UnbanPeer", Scope::Operate),
    ("/p2psp.admin.v1.SplitterService/SetPeerWeightLimit", Scope::Operate),
    ("/p2psp.admin.v1.SplitterService/UpdateLimits", Scope::Operate),
    ("/p2psp.admin.v1.PeerService/GetStatus", Scope::Read),
    ("/p2psp.admin.v1.PeerService/ListNeighbours", Scope::Read),
    ("/p2psp.admin.v1.PeerService/WatchNeighbours", Scope::Read),
    ("/p2psp.admin.v1.PeerService/GetBufferMap", Scope::Read),
    ("/p2psp.admin.v1.PeerService/Leave", Scope::Admin),
];

/// The scope that a path needs; `None` where anyone may ask. What is not known needs the most: a call that is added and forgotten
/// here must not be open.
pub(crate) fn needed(path: &str) -> Option<Scope> {
    if OPEN.contains(&path) {
        return None;
    }
    let call = CALLS.iter().find(|(name, _)| *name == path);
    Some(call.map_or(Scope::Admin, |(_, scope)| *scope))
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn tokens_carry_scopes() {
        let text = format!("# who\n\ngrafana read {TOKEN}\n  alice@ops  admin\t{TOKEN}x \n");
        let tokens = Tokens::parse(&text).unwrap();
        assert_eq!(tokens.caller(TOKEN), Some(&Caller::new("grafana", Scope::Read)));
        assert_eq!(tokens.caller(&format!("{TOKEN}x")), Some(&Caller::new("alice@ops", Scope::Admin)));
        for wrong in ["", &TOKEN[1..], &format!("{TOKEN}y"), &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(tokens.caller(wrong), None, "{wrong}");
        }
        assert!(!format!("{tokens:?}").contains("0123"), "tokens are not told");
        assert!(Scope::Read < Scope::Operate && Scope::Operate < Scope::Admin);
    }

    /// Each limit with one more, and no error that tells a token.
    #[test]
    fn token_files_are_checked() {
        let many =
            |count: usize| -> String { (0..count).map(|n| format!("a{n} read {TOKEN}{n}\n")).collect() };
        assert!(Tokens::parse(&many(TOKENS_MAX)).is_ok());
        let named = |length: usize| format!("{} read {TOKEN}", "n".repeat(length));
        assert!(Tokens::parse(&named(NAME_BYTES_MAX)).is_ok());
        for (text, line, says) in [
            (many(TOKENS_MAX + 1), TOKENS_MAX + 1, "more than 64"),
            (named(NAME_BYTES_MAX + 1), 1, "a name has"),
            (format!("a/b read {TOKEN}"), 1, "a name has"),
            (format!("a write {TOKEN}"), 1, "read, operate or admin"),
            (format!("a read {}", &TOKEN[1..]), 1, "openssl rand -hex 32"),
            (format!("a read {}", "x".repeat(TOKEN_BYTES_MAX + 1)), 1, "32 to 256"),
            (format!("\na read {TOKEN}\nb admin {TOKEN}"), 3, "this token is there already"),
            (format!("\na read {TOKEN}\na read {TOKEN}x"), 3, "this name is there already"),
            (format!("a read {TOKEN} more"), 1, "NAME SCOPE TOKEN"),
            ("# nothing".to_owned(), 1, "nobody could come in"),
        ] {
            let error = Tokens::parse(&text).unwrap_err();
            assert_eq!(error.line, line, "{error}");
            assert!(error.problem.contains(says) && !error.to_string().contains("012345"), "{error}");
        }
    }

    /// Every method of the schema has its scope, and every scope its method: none is open, or closed, by being forgotten.
    #[test]
    fn every_call_has_its_scope() {
        let schema = prost_types::FileDescriptorSet::decode(crate::DESCRIPTORS).unwrap();
        let mut methods = Vec::new();
        for file in &schema.file {
            for service in &file.service {
                for method in &service.method {
                    methods.push(format!("/{}.{}/{}", file.package(), service.name(), method.name()));
                }
            }
        }
        let ours: Vec<_> = CALLS.iter().filter(|(name, _)| name.starts_with("/p2psp.admin")).collect();
        assert_eq!(ours.len(), methods.len());
        for method in methods {
            let (_, scope) = ours.iter().find(|(name, _)| *name == method).expect(&method);
            let call = method.rsplit('/').next().unwrap();
            let reads = ["Get", "List", "Watch"].iter().any(|verb| call.starts_with(verb));
            assert_eq!(reads, *scope == Scope::Read, "{method}");
        }
        assert_eq!(needed("/p2psp.admin.v1.SplitterService/Explode"), Some(Scope::Admin));
        assert_eq!(needed("/livez"), None);
    }
}
