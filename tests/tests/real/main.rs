//! Other people's programs on both ends: ffmpeg, curl and Icecast bring streams in; ffprobe, mpv and Chromium play what peers
//! give out. And networks that lose packets, with members that die in them. Each test fails, and does not pass, where its
//! program is not installed: `.ci/run packages` installs them all.

#[cfg(test)]
mod clips;
#[cfg(test)]
mod icecast;
#[cfg(test)]
mod manual;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod panel;
#[cfg(test)]
mod players;
#[cfg(test)]
mod polluter;
#[cfg(test)]
mod prometheus;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod schema;
#[cfg(test)]
mod senders;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod top;
