//! Every maximum on the wire, with the reason for its value. A receiver enforces each of them; a sender never exceeds one.

/// Bytes of a datagram's header (R-DGRAM-2).
pub const HEADER_BYTES: usize = 16;

/// Most bytes of one datagram, header and payload (R-DGRAM-1). The IPv6 minimum MTU of 1280 leaves 1232 bytes of UDP
/// payload, and quinn promises 38 bytes less to a DATAGRAM frame: this fits every path that carries QUIC.
pub const DATAGRAM_BYTES_MAX: usize = 1194;

/// Most bytes of one shard of a generation (R-GEN-2): a parity chunk's payload. Even, as the code's words of 16 bits need it.
pub const SHARD_BYTES_MAX: usize = DATAGRAM_BYTES_MAX - HEADER_BYTES;

/// Bytes that a chunk's shard has before its payload: what parity must restore of the header.
pub const SHARD_PREFIX_BYTES: usize = 10;

/// Fewest bytes of one shard of a generation: a payload of one byte, made even.
pub const SHARD_BYTES_MIN: usize = SHARD_PREFIX_BYTES + 2;

/// Most bytes of one chunk's payload: its shard fits a datagram.
pub const PAYLOAD_BYTES_MAX: usize = SHARD_BYTES_MAX - SHARD_PREFIX_BYTES;

/// Largest chunk number: 48 bits on the wire, 8900 years at 1000 chunks a second.
pub const CHUNK_NUMBER_MAX: u64 = (1 << 48) - 1;

/// Most chunks of one generation (R-DGRAM-2), data and parity: positions 0 to 63.
pub const GENERATION_CHUNKS_MAX: u8 = 64;

/// Most data chunks of one generation (R-GEN-1).
pub const DATA_CHUNKS_MAX: u8 = 48;

/// Most parity chunks of one generation (R-GEN-3).
pub const PARITY_CHUNKS_MAX: u8 = 16;

/// Bytes of a hash in a manifest: SHA-256 cut to 128 bits, which leaves second preimages at 2^128.
pub const HASH_BYTES: usize = 16;

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Most members of one team. The design point is 64 to 128; full meshes past 256 cost more links than they are worth.
pub const TEAM_SIZE_MAX: u16 = 512;

/// Most bytes of one control frame, without its length prefix: a stream header and room around it.
pub const FRAME_BYTES_MAX: usize = STREAM_HEADER_BYTES_MAX + 1024;

/// Most length-delimited fields of one control frame, nested ones included (R-CTRL-2). The largest roster delta has 705; the
/// limit bounds what a frame of empty list elements can make a decoder allocate, before it does.
pub const FRAME_FIELDS_MAX: usize = 1024;

/// Most bytes of a stream header (R-HEADER-1). fMP4 `moov` boxes reach tens of kilobytes.
pub const STREAM_HEADER_BYTES_MAX: usize = 64 * 1024;

/// Most bytes of a content type.
pub const CONTENT_TYPE_BYTES_MAX: usize = 64;

/// Most bytes of an admission ticket.
pub const TICKET_BYTES_MAX: usize = 512;

/// Most candidate addresses of one member.
pub const CANDIDATES_MAX: usize = 8;

/// Most bytes of the software name in a join.
pub const AGENT_BYTES_MAX: usize = 64;

/// Most bytes of the sentence in a refusal.
pub const DETAIL_BYTES_MAX: usize = 256;

/// Most members, and most departures, in one roster delta; a larger snapshot takes several frames.
pub const ROSTER_ENTRIES_MAX: usize = 64;

/// Most slots in one request, prune or silence report.
pub const SLOTS_MAX: usize = 64;

/// Most ranges in one loss report, pull or choke.
pub const RANGES_MAX: usize = 64;

/// Most chunks that all ranges of one message name together: four seconds of a 4 Mb/s stream.
pub const RANGE_CHUNKS_MAX: u64 = 2048;

/// Most chunks of which one witness speaks: what a 60 Mb/s stream brings in the time between two of them.
pub const WITNESS_CHUNKS_MAX: u32 = 2048;

/// Most bytes of a channel link's text.
pub const LINK_BYTES_MAX: usize = 1024;

/// Most splitter and tracker addresses in one channel link.
pub const LINK_ADDRESSES_MAX: usize = 8;
