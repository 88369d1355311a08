//! Compression: the same bytes everywhere, readable by everybody.

use std::io::{Cursor, Read, Write};
use std::process::{Command, Stdio};

use bld_layer::{Compression, Encoder, Format, WriteBehind, decoder, detect, read_ahead};
use bld_oci::Digest;

const GZIP: Compression = Compression::Gzip { level: 6 };
const ZSTD: Compression = Compression::Zstd { level: 3 };

/// Text of a kind: repetitive near by and far away, with incompressible stretches, most of them
/// short.
fn corpus(length: usize) -> Vec<u8> {
    let mut state = 42_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        let random = next();
        match random % 16 {
            0 => {
                let length = if random % 16384 == 0 { 200_000 } else { 64 };
                bytes.extend((0..length).map(|_| next().to_le_bytes()[5]));
            }
            word => bytes
                .extend_from_slice(format!("line {} of {}\n", word * 7919, random % 97).as_bytes()),
        }
    }
    bytes.truncate(length);
    bytes
}

fn encode(data: &[u8], compression: Compression, piece: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new(), &compression).unwrap();
    for piece in data.chunks(piece.max(1)) {
        encoder.write_all(piece).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

fn decode(bytes: Vec<u8>) -> Vec<u8> {
    let mut decoded = Vec::new();
    decoder(Cursor::new(bytes)).unwrap().read_to_end(&mut decoded).unwrap();
    decoded
}

/// Pipes bytes through a command.
fn pipe(command: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{command:?}");
        output.stdout
    })
}

#[test]
fn what_goes_in_comes_out() {
    for length in [0, 1, 1000, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 3_000_000] {
        let data = corpus(length);
        for compression in [Compression::None, GZIP, ZSTD] {
            let packed = encode(&data, compression, 10_007);
            assert!(decode(packed) == data, "{compression:?} of {length} bytes");
        }
    }
}

#[test]
fn neither_threads_nor_pieces_show() {
    let data = corpus(5_000_000);
    for compression in [GZIP, Compression::Gzip { level: 1 }, ZSTD, Compression::Zstd { level: -3 }]
    {
        let expected = encode(&data, compression, data.len());
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            // Called on a thread of the pool it compresses on: it must not wait for itself.
            for piece in [data.len(), 70_001] {
                let packed = pool.install(|| encode(&data, compression, piece));
                assert!(packed == expected, "{compression:?}, {threads} threads, {piece}");
            }
        }
    }
}

#[test]
fn the_bytes_of_a_level_never_change() {
    // When this fails, raise the revision in the key of the format: stored blobs are not what the
    // same key makes now.
    let data = corpus(5_000_000);
    let goldens = [
        (GZIP, "gzip-6-r2", "bd885baa03a3"),
        (Compression::Gzip { level: 1 }, "gzip-1-r2", "5c22736e37be"),
        (Compression::Gzip { level: 9 }, "gzip-9-r2", "12077d9772f4"),
        (ZSTD, "zstd-3-r2", "6482d5cafa92"),
        (Compression::Zstd { level: 19 }, "zstd-19-r2", "2db2f883bb38"),
    ];
    let digest = |compression| Digest::of(&encode(&data, compression, 65536)).short();
    let found = goldens.map(|(compression, ..)| (compression.key(), digest(compression)));
    assert_eq!(found, goldens.map(|(_, key, digest)| (key.to_owned(), digest.to_owned())));
}

#[test]
fn everybody_reads_it() {
    let data = corpus(3_000_000);
    assert!(pipe(&["gzip", "--decompress"], &encode(&data, GZIP, 65536)) == data);
    assert!(pipe(&["zstd", "--decompress", "--quiet"], &encode(&data, ZSTD, 65536)) == data);
    // A reader that stops after the first member sees all of it.
    let mut single = Vec::new();
    flate2::read::GzDecoder::new(&encode(&data, GZIP, 65536)[..]).read_to_end(&mut single).unwrap();
    assert!(single == data);
}

#[test]
fn it_reads_everybody() {
    let data = corpus(1_200_000);
    let tools: [(&[&str], Format); 7] = [
        (&["gzip", "-9"], Format::Gzip),
        (&["zstd", "--quiet", "-19"], Format::Zstd),
        (&["zstd", "--quiet", "--long=27"], Format::Zstd),
        (&["bzip2"], Format::Bzip2),
        (&["xz"], Format::Xz),
        (&["xz", "-9", "--threads=2", "--block-size=1MiB"], Format::Xz),
        (&["xz", "--x86", "--lzma2=preset=1", "--check=sha256"], Format::Xz),
    ];
    for (tool, format) in tools {
        let packed = pipe(tool, &data);
        assert_eq!(detect(&packed[..6]), Some(format), "{tool:?}");
        assert!(decode(packed.clone()) == data, "{tool:?}");
        // Several streams one after the other are one.
        let twice = [packed.clone(), packed.clone()].concat();
        assert!(decode(twice) == [&data[..], &data[..]].concat(), "{tool:?}");
        // Cut off, it must not pass for complete.
        let half = Cursor::new(packed[..packed.len() / 2].to_vec());
        let mut rest = Vec::new();
        assert!(decoder(half).unwrap().read_to_end(&mut rest).is_err(), "{tool:?}");
    }
}

#[test]
fn what_is_not_compressed_passes_through() {
    for data in [&b""[..], b"x", b"BZ", b"BZhello", b"\x1f\x8b\x00gzip?", b"plain text, longer"] {
        assert_eq!(detect(data), None);
        assert_eq!(decode(data.to_vec()), data);
    }
}

/// Gives so many bytes, then fails.
struct Failing(usize);
impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::Error::other("broken"));
        }
        let length = buffer.len().min(self.0);
        self.0 -= length;
        Ok(length)
    }
}

#[test]
fn reading_ahead_changes_nothing() {
    let data = corpus(3_000_001);
    let mut read = Vec::new();
    let mut ahead = read_ahead(Cursor::new(data.clone())).unwrap();
    ahead.read_to_end(&mut read).unwrap();
    assert!(read == data);
    assert_eq!(ahead.finish().unwrap().position(), data.len() as u64);

    let mut read = Vec::new();
    let error = read_ahead(Failing(1_000_000)).unwrap().read_to_end(&mut read).unwrap_err();
    assert_eq!((error.to_string().as_str(), read.len()), ("broken", 1_000_000));
    // Dropped early, it must not hang anybody.
    let mut ahead = read_ahead(std::io::repeat(0)).unwrap();
    ahead.read_exact(&mut [0; 10]).unwrap();
}

#[test]
fn levels_that_do_not_exist() {
    for compression in [
        Compression::Gzip { level: 10 },
        Compression::Zstd { level: 0 },
        Compression::Zstd { level: 23 },
    ] {
        assert!(Encoder::new(Vec::new(), &compression).is_err());
    }
}

/// Takes so many bytes, then fails.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0 == 0 {
            return Err(std::io::Error::other("full"));
        }
        let length = bytes.len().min(self.0);
        self.0 -= length;
        Ok(length)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn writing_behind_changes_nothing() {
    for length in [0, 1, 256 << 10, (256 << 10) + 1, 5_000_000] {
        let data = corpus(length);
        let mut behind = WriteBehind::new(Vec::new());
        for piece in data.chunks(99_991) {
            behind.write_all(piece).unwrap();
        }
        assert!(behind.finish().unwrap() == data, "{length} bytes");
    }
}

#[test]
fn errors_of_a_writer_behind_come_out() {
    let data = corpus(5_000_000);
    for room in [0, 100, 300_000, 4_999_999] {
        let mut behind = WriteBehind::new(Full(room));
        let error = match behind.write_all(&data) {
            Ok(()) => behind.finish().err().unwrap(),
            Err(error) => {
                // And keep coming out.
                assert!(behind.write_all(&data).is_err());
                assert!(behind.finish().is_err());
                error
            }
        };
        assert_eq!(error.to_string(), "full", "{room}");
    }
    // Dropped early, it must not hang anybody.
    let mut behind = WriteBehind::new(std::io::sink());
    behind.write_all(&data).unwrap();
}
