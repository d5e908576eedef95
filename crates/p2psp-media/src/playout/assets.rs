//! The player page and what it needs, inside the binary: no file and no other server is asked at run time. Owns paths,
//! types and cache rules.

use std::hash::{DefaultHasher, Hasher};

/// One file of the player page.
#[derive(Debug)]
pub(super) struct Asset {
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    pub(super) bytes: &'static [u8],
    /// The name carries the version, so the content never changes.
    pub(super) immutable: bool,
}

/// Everything the player page is made of.
pub(super) const ASSETS: [Asset; 6] = [
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: include_bytes!("../../assets/index.html"),
        immutable: false,
    },
    Asset {
        path: "/assets/player.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../../assets/player.css"),
        immutable: false,
    },
    Asset {
        path: "/assets/player.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../assets/player.js"),
        immutable: false,
    },
    Asset {
        path: "/assets/panel.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../assets/panel.js"),
        immutable: false,
    },
    Asset {
        path: "/assets/icon.svg",
        content_type: "image/svg+xml",
        bytes: include_bytes!("../../assets/icon.svg"),
        immutable: false,
    },
    Asset {
        path: "/assets/mpegts-1.8.2.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../assets/vendor/mpegts-1.8.2.js"),
        immutable: true,
    },
];

/// The asset at `path`.
pub(super) fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    /// A validator for caches; differs when the bytes do.
    pub(super) fn etag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.bytes);
        format!("\"{:016x}\"", hasher.finish())
    }

    pub(super) fn cache_control(&self) -> &'static str {
        if self.immutable { "public, max-age=31536000, immutable" } else { "no-cache" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vendored files are the ones that `CHECKSUMS` names, byte for byte.
    #[test]
    fn vendored_files_match_their_checksums() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/vendor/");
        let sums = include_str!("../../assets/vendor/CHECKSUMS");
        let mut names = Vec::new();
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").expect("`sha256sum` lines");
            let bytes = std::fs::read(format!("{directory}{name}")).expect(name);
            let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
            let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, sum, "{name} differs from CHECKSUMS; see assets/vendor/README.md");
            names.push(name);
        }
        assert!(names.contains(&"mpegts-1.8.2.js"));
    }

    /// The page may load nothing from elsewhere, and what it loads exists.
    #[test]
    fn the_page_asks_only_for_our_assets() {
        let page = std::str::from_utf8(find("/").expect("the page exists").bytes).expect("UTF-8");
        let mut references = 0;
        for attribute in ["src=\"", "href=\""] {
            for rest in page.split(attribute).skip(1) {
                let target = rest.split('"').next().expect("split gives one");
                assert!(target == "/live.m3u" || find(target).is_some(), "{target} is not served");
                references += 1;
            }
        }
        assert!(references >= 4, "found only {references} references");
        assert!(!page.contains("style=") && !page.contains("<script>"), "inline code needs a weaker policy");
    }

    #[test]
    fn validators_tell_assets_apart() {
        let tags: std::collections::BTreeSet<_> = ASSETS.iter().map(Asset::etag).collect();
        assert_eq!(tags.len(), ASSETS.len());
    }
}
