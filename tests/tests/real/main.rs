//! Other people's programs on both ends: ffmpeg, curl and Icecast bring streams in; ffprobe, mpv and Chromium play what peers
//! give out. Each test fails, and does not pass, where its program is not installed: `.ci/run real` installs them all.

#[cfg(test)]
mod clips;
#[cfg(test)]
mod icecast;
#[cfg(test)]
mod players;
#[cfg(test)]
mod senders;
#[cfg(test)]
mod tools;
