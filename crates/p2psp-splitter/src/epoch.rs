//! The number of a run. Owns the file that remembers the last one; what the number is good for is the protocol's business.

use p2psp_wire::Epoch;
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tracing::warn;

/// Runs are numbered by the time they begin at, in quarters of a second since 2025: that lasts 34 years.
const ORIGIN: Duration = Duration::from_secs(1_735_689_600);
const PER_S: u128 = 4;
/// The file is a number of ten digits and a line feed: always as long, so that one write replaces the last one.
const FILE_BYTES: usize = 11;

/// The number of the run that begins at `now` (R-ID-5): larger than that of the run before, which `file` remembers. Without a
/// file, or with one that cannot be used, the clock alone makes it grow.
pub(crate) fn next(file: Option<&Path>, now: SystemTime) -> Epoch {
    let by_clock = by_clock(now);
    let Some(path) = file else { return Epoch(by_clock) };
    Epoch(numbered(path, by_clock).unwrap_or_else(|error| {
        warn!(
            "cannot keep the number of this run in {}: {error}; peers may mix this run up with the last one if the clock \
             was set back since, so see to it that this file can be written",
            path.display()
        );
        by_clock
    }))
}

fn by_clock(now: SystemTime) -> u32 {
    let since = now.duration_since(UNIX_EPOCH + ORIGIN).unwrap_or_default();
    u32::try_from(since.as_millis() * PER_S / 1000).unwrap_or(u32::MAX)
}

/// The clock's number, or the one after the last where the clock is behind it. Two that begin at once get two numbers.
fn numbered(path: &Path, by_clock: u32) -> io::Result<u32> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.lock()?;
    let number = match last(&file)? {
        None => by_clock,
        Some(last) => {
            let after = last.checked_add(1).ok_or_else(|| io::Error::other("its numbers are used up"))?;
            by_clock.max(after)
        }
    };
    file.rewind()?;
    file.write_all(format!("{number:010}\n").as_bytes())?;
    file.sync_all()?;
    Ok(number)
}

/// The number in the file; none in a new one.
fn last(file: &File) -> io::Result<Option<u32>> {
    let mut text = String::new();
    let limit = u64::try_from(FILE_BYTES).unwrap_or(u64::MAX) + 1;
    file.take(limit).read_to_string(&mut text)?;
    match text.trim_end().parse() {
        Ok(number) if text.len() == FILE_BYTES => Ok(Some(number)),
        _ if text.is_empty() => Ok(None),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it holds something else; move it away")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        path::PathBuf,
        sync::atomic::{AtomicU32, Ordering},
    };

    /// A file of the test's own, not there yet, and gone at the end.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            Self(std::env::temp_dir().join(format!("p2psp-epoch-{}-{count}", std::process::id())))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_file(&self.0).ok();
        }
    }

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + ORIGIN + Duration::from_millis(millis)
    }

    /// A number grows in a quarter of a second, for decades; a clock before its origin makes the first.
    #[test]
    fn the_clock_numbers_runs() {
        assert_eq!(next(None, at(0)), Epoch(0));
        assert_eq!(next(None, at(1_000)), Epoch(4));
        assert_eq!(next(None, at(1_250)), Epoch(5));
        assert_eq!(next(None, UNIX_EPOCH), Epoch(0));
        let in_thirty_years = 30 * 365 * 24 * 3600 * 1000;
        assert!(next(None, at(in_thirty_years)) < Epoch(u32::MAX));
    }

    /// The number grows with each start, also for starts in one moment and after the clock was set back.
    #[test]
    fn numbers_grow_whatever_the_clock_says() {
        let place = Place::new();
        let starts = [10_000, 10_000, 10_100, 2_000, 20_000, 0];
        let epochs = starts.map(|millis| next(Some(&place.0), at(millis)));
        assert_eq!(epochs, [40, 41, 42, 43, 80, 81].map(Epoch));
        assert_eq!(fs::read_to_string(&place.0).unwrap(), "0000000081\n");
    }

    /// Starts at once, as a supervisor that runs two by mistake makes them, get different numbers.
    #[test]
    fn starts_at_once_get_different_numbers() {
        let place = Place::new();
        let mut epochs: Vec<Epoch> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| next(Some(&place.0), at(10_000)))).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        epochs.sort();
        assert_eq!(epochs, (40..48).map(Epoch).collect::<Vec<_>>());
    }

    /// A file that is not ours stays as it is, and keeps nobody from starting; nor does one that cannot be made.
    #[test]
    fn files_that_cannot_be_used() {
        let place = Place::new();
        for text in ["hello", "0000000001", "00000000010\n", "4294967296\n", "-000000001\n", "4294967295\n"] {
            fs::write(&place.0, text).unwrap();
            assert!(numbered(&place.0, 4).is_err(), "{text}");
            assert_eq!(next(Some(&place.0), at(1_000)), Epoch(4), "{text}");
            assert_eq!(fs::read_to_string(&place.0).unwrap(), text);
        }
        assert_eq!(next(Some(Path::new("/proc/nowhere/epoch")), at(1_000)), Epoch(4));
    }
}
