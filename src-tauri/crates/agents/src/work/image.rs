//! Images made smaller without a change to what is seen.

use flate2::{Compression, Crc, read::ZlibDecoder, write::ZlibEncoder};
use std::io::{Read as _, Write as _};

/// Bytes that the pixels of an image may take at most: what a small file could grow to.
const PIXELS: u64 = 256 << 20;
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The image in fewer bytes; `None` where there is no such thing, or it is no image that is known here. PNG: pixels are compressed as far as
/// deflate can, texts and times are left out. JPEG: comments, XMP and editors' notes are left out; Exif stays, as it says which side is up.
pub(super) fn smaller(bytes: &[u8]) -> Option<Vec<u8>> {
    let made = if bytes.starts_with(PNG) {
        png(bytes)
    } else if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        jpeg(bytes)
    } else {
        None
    };
    made.filter(|made| made.len() < bytes.len())
}

/// The chunks of a PNG, as its specification (ISO/IEC 15948) lays them out: length, type, data, CRC.
fn png(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes.strip_prefix(PNG)?;
    let (mut before, mut packed, mut after) = (Vec::new(), Vec::new(), Vec::new());
    while !rest.is_empty() {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (kind, tail) = tail.split_first_chunk::<4>()?;
        let (data, tail) = tail.split_at_checked(length)?;
        let (crc, tail) = tail.split_first_chunk::<4>()?;
        if crc_of(kind, data) != *crc {
            return None;
        }
        match kind {
            b"IDAT" => packed.extend_from_slice(data),
            // Animated: its pictures are packed one by one.
            b"acTL" => return None,
            b"tEXt" | b"zTXt" | b"iTXt" | b"tIME" => {}
            _ if packed.is_empty() => chunk(&mut before, kind, data)?,
            _ => chunk(&mut after, kind, data)?,
        }
        rest = tail;
    }
    let mut pixels = Vec::new();
    let unpacked = ZlibDecoder::new(packed.as_slice())
        .take(PIXELS + 1)
        .read_to_end(&mut pixels);
    if unpacked.is_err() || pixels.len() as u64 > PIXELS || pixels.is_empty() {
        return None;
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&pixels).ok()?;
    let repacked = encoder.finish().ok()?;
    let packed = if repacked.len() < packed.len() {
        repacked
    } else {
        packed
    };
    let mut made = PNG.to_vec();
    made.extend(before);
    chunk(&mut made, b"IDAT", &packed)?;
    made.extend(after);
    Some(made)
}

fn crc_of(kind: &[u8], data: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(data);
    crc.sum().to_be_bytes()
}

fn chunk(into: &mut Vec<u8>, kind: &[u8], data: &[u8]) -> Option<()> {
    into.extend(u32::try_from(data.len()).ok()?.to_be_bytes());
    into.extend_from_slice(kind);
    into.extend_from_slice(data);
    into.extend(crc_of(kind, data));
    Some(())
}

/// The segments of a JPEG (ITU-T T.81, annex B): marker, length, data, up to the scan.
fn jpeg(bytes: &[u8]) -> Option<Vec<u8>> {
    let (start, mut rest) = bytes.split_at_checked(2)?;
    let mut made = start.to_vec();
    loop {
        let [0xff, marker, high, low, ..] = *rest else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (segment, tail) = rest.split_at_checked(length + 2).filter(|_| length >= 2)?;
        if marker == 0xda {
            made.extend_from_slice(rest);
            return Some(made);
        }
        let data = &segment[4..];
        let needless = match marker {
            0xfe => true,
            0xe1 => data.starts_with(b"http://ns.adobe.com/"),
            0xed => data.starts_with(b"Photoshop "),
            _ => false,
        };
        if !needless {
            made.extend_from_slice(segment);
        }
        rest = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grey picture of 64 times 64 pixels, packed badly.
    fn picture(level: Compression) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(&[0x77; 64 * 65]).unwrap();
        let mut bytes = PNG.to_vec();
        let head = [0, 0, 0, 64, 0, 0, 0, 64, 8, 0, 0, 0, 0];
        chunk(&mut bytes, b"IHDR", &head).unwrap();
        chunk(&mut bytes, b"tEXt", b"Comment\0made by hand").unwrap();
        chunk(&mut bytes, b"IDAT", &encoder.finish().unwrap()).unwrap();
        chunk(&mut bytes, b"IEND", b"").unwrap();
        bytes
    }

    #[test]
    fn a_picture_becomes_smaller_and_stays_what_it_is() {
        let before = picture(Compression::none());
        let after = smaller(&before).unwrap();
        assert!(after.len() < before.len() / 10, "{}", after.len());
        let at = after.windows(4).position(|part| part == b"IDAT").unwrap();
        let mut pixels = Vec::new();
        ZlibDecoder::new(&after[at + 4..])
            .read_to_end(&mut pixels)
            .unwrap();
        assert_eq!(pixels, [0x77; 64 * 65]);
        assert!(!after.windows(4).any(|part| part == b"tEXt"));
        assert_eq!(smaller(&after), None, "a second time gains nothing");
        let mut damaged = before;
        damaged[20] ^= 1;
        assert_eq!(smaller(&damaged), None);
        let segment = |marker: u8, data: &[u8]| {
            let length = u16::try_from(data.len() + 2).unwrap().to_be_bytes();
            [&[0xff, marker], &length[..], data].concat()
        };
        let (exif, scan) = (segment(0xe1, b"Exif\0\0side"), segment(0xda, b"scan"));
        let comment = segment(0xfe, b"made by hand");
        let photo = [&[0xff, 0xd8][..], &exif, &comment, &scan, b"data\xff\xd9"].concat();
        let kept = [&[0xff, 0xd8][..], &exif, &scan, b"data\xff\xd9"].concat();
        assert_eq!(smaller(&photo), Some(kept));
        for cut in 0..photo.len() {
            // Whatever it is cut to, it is no panic.
            let _ = (
                smaller(&photo[..cut]),
                smaller(&picture(Compression::none())[..cut]),
            );
        }
    }
}
