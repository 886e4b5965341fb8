//! NumPy's format for one array: a line that describes it, then its elements.

use super::{
    Encoding, bytes_of, format, read_tensor, replace_file_with, room_for, unreadable, unwritable, write_elements,
};
use crate::ops::ViewOps;
use crate::{DType, Error, Result, Shape, Tensor};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";
/// The data begin at a multiple of this.
const ALIGNMENT: usize = 64;
/// The longest header that is read. Those of arrays of numbers take 128 bytes; NumPy itself stops at 10,000.
const HEADER_BYTES: u64 = 1 << 16;

/// NumPy's name for an element type. It has none for bf16.
fn descriptor(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::BF16 => return None,
    })
}

/// What a NumPy type is read as: types that Kiln lacks become the next wider one, which holds all their values.
fn encoding(descriptor: &str) -> Option<Encoding> {
    let (order, code) = match descriptor.as_bytes() {
        [order @ (b'<' | b'>' | b'=' | b'|'), code @ ..] => (*order, code),
        code => (b'=', code),
    };
    let dtype = match code {
        b"b1" => DType::Bool,
        b"u1" => DType::U8,
        b"i1" | b"i2" | b"u2" | b"i4" => DType::I32,
        b"u4" | b"i8" | b"u8" => DType::I64,
        b"f2" => DType::F16,
        b"f4" => DType::F32,
        b"f8" => DType::F64,
        _ => return None,
    };
    let big_endian = order == b'>' || order == b'=' && cfg!(target_endian = "big");
    Some(Encoding { dtype, bytes: usize::from(code[1] - b'0'), signed: code[0] != b'u', big_endian })
}

/// The description that comes before the elements.
fn header(tensor: &Tensor) -> Result<Vec<u8>> {
    let Some(descriptor) = descriptor(tensor.dtype()) else {
        return Err(Error::dtype("npy", "NumPy has no type for bf16").help("convert it: .cast(DType::F32)"));
    };
    let dims: String = tensor.shape().iter().map(|d| format!("{d}, ")).collect();
    let text = format!("{{'descr': '{descriptor}', 'fortran_order': False, 'shape': ({}), }}", dims.trim_end());
    let fixed = MAGIC.len() + 4;
    let length = (fixed + text.len() + 1).next_multiple_of(ALIGNMENT) - fixed;
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((length as u16).to_le_bytes());
    out.extend(format!("{text:<0$}\n", length - 1).bytes());
    Ok(out)
}

/// Writes a tensor as an npy file is: description and elements. The inner error is that of `target`.
pub(super) fn write_npy(tensor: &Tensor, target: &mut dyn Write) -> Result<std::io::Result<()>> {
    let header = header(tensor)?;
    Ok(target.write_all(&header).and_then(|()| write_elements(tensor, target)))
}

/// A tensor as the bytes of an npy file.
///
/// # Errors
/// A `bf16` tensor, for which NumPy has no type; a view of more elements than memory holds.
pub fn to_npy(tensor: &Tensor) -> Result<Vec<u8>> {
    let mut out = room_for(tensor, 128)?;
    write_npy(tensor, &mut out)?.map_err(|e| Error::argument("npy", "cannot be written").caused_by(e))?;
    Ok(out)
}

/// The tensor of an npy file in memory; `name` stands for it in errors.
///
/// Either byte order is read, and either order of the elements. NumPy's `int8`, `int16` and `uint16` become `i32`,
/// `uint32` and `uint64` become `i64`.
///
/// # Errors
/// Bytes that are no such file, an element type that Kiln cannot hold, a `uint64` beyond `i64`, too few or too many
/// elements.
pub fn parse_npy(bytes: &[u8], name: &Path) -> Result<Tensor> {
    read_npy(&mut &bytes[..], bytes.len() as u64, name)
}

/// The tensor of an npy file that `source` gives and that has `size` bytes, header included.
pub(super) fn read_npy(source: &mut impl Read, size: u64, name: &Path) -> Result<Tensor> {
    let broken = |what: &str| Error::file(name, format!("is no valid npy file: {what}"));
    let cut_off = |_| broken("its header is cut off");
    let mut mark = Vec::new();
    source.by_ref().take(MAGIC.len() as u64).read_to_end(&mut mark).map_err(unreadable(name))?;
    if mark != MAGIC {
        source.by_ref().take(32).read_to_end(&mut mark).map_err(unreadable(name))?;
        return Err(format::not_a("npy", name, &mark, "it does not begin with NumPy's mark"));
    }
    let mut version = [0; 2];
    source.read_exact(&mut version).map_err(cut_off)?;
    let digits = match version {
        [1, _] => 2,
        [2 | 3, _] => 4,
        _ => return Err(broken("its version is unknown")),
    };
    let mut length = [0; 4];
    source.read_exact(&mut length[..digits]).map_err(cut_off)?;
    let length = u64::from(u32::from_le_bytes(length));
    if length > HEADER_BYTES {
        return Err(broken(&format!("its header claims {length} bytes")));
    }
    let mut header = vec![0; length as usize];
    source.read_exact(&mut header).map_err(cut_off)?;
    let header = String::from_utf8(header).map_err(|_| broken("its header is no text"))?;
    let Header { descriptor, dims, fortran_order } = Header::parse(&header).map_err(broken)?;
    let encoding = encoding(descriptor).ok_or_else(|| {
        Error::file(name, format!("has elements of NumPy's type '{descriptor}', which Kiln does not read"))
    })?;
    let shape = Shape::new(&dims).map_err(|e| Error::file(name, "its shape").caused_by(e))?;
    let needed = bytes_of(&shape, encoding.bytes);
    let there = size.saturating_sub(8 + digits as u64 + length);
    if needed != Some(there) {
        let needed = needed.map_or("more than there can be".to_owned(), |bytes| bytes.to_string());
        let text = format!("has {there} bytes of data, its shape {shape} ('{descriptor}') needs {needed}");
        return Err(Error::file(name, text));
    }
    if !fortran_order {
        return read_tensor(name, shape, encoding, source);
    }
    let reversed: Vec<usize> = dims.iter().rev().copied().collect();
    let axes: Vec<isize> = (0..dims.len() as isize).rev().collect();
    read_tensor(name, Shape::new(&reversed)?, encoding, source)?.permute(&axes)
}

/// What the header says: a dictionary, as Python prints it.
struct Header<'a> {
    descriptor: &'a str,
    dims: Vec<usize>,
    fortran_order: bool,
}

impl<'a> Header<'a> {
    fn parse(text: &'a str) -> Result<Header<'a>, &'static str> {
        let field = |key: &str| {
            let at = text.find(&format!("'{key}'"))? + key.len() + 2;
            text[at..].trim_start().strip_prefix(':').map(str::trim_start)
        };
        let descriptor = field("descr").and_then(|v| v.strip_prefix('\'')?.split_once('\''));
        let (descriptor, _) = descriptor.ok_or("its header names no element type")?;
        let dims = field("shape").and_then(|v| v.strip_prefix('(')?.split_once(')'));
        // Python 2 wrote its long numbers with an L.
        let length = |text: &str| text.strip_suffix('L').unwrap_or(text).parse().map_err(|_| "its header has no shape");
        let (dims, _) = dims.ok_or("its header has no shape")?;
        let dims = dims.split(',').map(str::trim).filter(|d| !d.is_empty()).map(length).collect::<Result<_, _>>()?;
        Ok(Header { descriptor, dims, fortran_order: field("fortran_order").is_some_and(|v| v.starts_with("True")) })
    }
}

/// Reads an npy file.
///
/// # Errors
/// As [`parse_npy`], and a file that is missing.
pub fn load_npy(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    let mut file = File::open(path).map_err(unreadable(path))?;
    let metadata = file.metadata().map_err(unreadable(path))?;
    if metadata.is_file() {
        return read_npy(&mut BufReader::new(file), metadata.len(), path);
    }
    // A pipe does not say how much will come: only what has come can be compared with the header.
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(unreadable(path))?;
    parse_npy(&bytes, path)
}

/// Writes an npy file. A file that is there is replaced in one step ([`replace_file_with`]): if anything fails, it stays.
///
/// # Errors
/// As [`to_npy`], and a file that cannot be written.
pub fn save_npy(path: impl AsRef<Path>, tensor: &Tensor) -> Result<()> {
    let path = path.as_ref();
    header(tensor)?;
    replace_file_with(path, |temporary| {
        let mut file = BufWriter::new(File::create(temporary)?);
        write_npy(tensor, &mut file).map_err(std::io::Error::other)??;
        file.flush()
    })
    .map_err(unwritable(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::CastOps;
    use crate::{bf16, f16};

    /// A file as NumPy writes it.
    fn file(descriptor: &str, fortran_order: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descriptor}', 'fortran_order': {fortran_order}, 'shape': {shape}, }}\n");
        [MAGIC, &[1, 0, header.len() as u8, 0], header.as_bytes(), data].concat()
    }

    fn parse(bytes: &[u8]) -> Result<Tensor> {
        parse_npy(bytes, Path::new("x.npy"))
    }

    #[test]
    fn every_type_and_shape_survives() {
        let base = Tensor::new([[0.0, 1.0, 2.0], [3.0, 4.0, 100.0]]);
        let mut all: Vec<Tensor> = DType::ALL.iter().map(|&d| base.cast(d).unwrap()).collect();
        all.extend([base.t().unwrap(), Tensor::new(3i64), Tensor::zeros([0, 4]).unwrap(), Tensor::new([7u8])]);
        all.push(Tensor::new([[1], [2]]).expand([2, 3 * crate::read::BLOCK]).unwrap());
        for t in all {
            match t.dtype() {
                DType::BF16 => assert!(to_npy(&t).unwrap_err().to_string().contains("cast(DType::F32)")),
                _ => {
                    let bytes = to_npy(&t).unwrap();
                    assert_eq!(bytes.len() % ALIGNMENT, t.count() * t.dtype().size() % ALIGNMENT);
                    assert!(parse(&bytes).unwrap().same_bits(&t));
                }
            }
        }
    }

    #[test]
    fn every_bit_of_every_half_survives() {
        let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let read = parse(&to_npy(&Tensor::from_slice(&halves, [1 << 16]).unwrap()).unwrap()).unwrap();
        assert!(read.to_vec::<f16>().unwrap().iter().map(|x| x.to_bits()).eq(0..=u16::MAX));
        let signalling = Tensor::new([f32::from_bits(0x7f80_0001)]);
        assert!(parse(&to_npy(&signalling).unwrap()).unwrap().same_bits(&signalling));
    }

    #[test]
    fn dialects() {
        let one = |descriptor: &str, data: &[u8]| parse(&file(descriptor, "False", "(1,)", data)).unwrap();
        let all = [
            (one(">f2", &[0x3c, 0]), Tensor::new([f16::ONE])),
            (one(">f4", &[0x3f, 0x80, 0, 0]), Tensor::new([1f32])),
            (one(">f8", &[0x3f, 0xf0, 0, 0, 0, 0, 0, 0]), Tensor::new([1f64])),
            (one(">i4", &[0xff, 0xff, 0xff, 0xfe]), Tensor::new([-2])),
            (one(">i8", &[0, 0, 0, 0, 0, 0, 1, 2]), Tensor::new([258i64])),
            (one("|i1", &[0x80]), Tensor::new([-128])),
            (one("<i2", &[0, 0x80]), Tensor::new([-32768])),
            (one(">i2", &[0x80, 1]), Tensor::new([-32767])),
            (one("<u2", &[0xff, 0xff]), Tensor::new([65535])),
            (one("<u4", &[0xff; 4]), Tensor::new([u32::MAX as i64])),
            (one("<u8", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), Tensor::new([i64::MAX])),
            (one("|b1", &[1]), Tensor::new([true])),
            (one("|u1", &[200]), Tensor::new([200u8])),
        ];
        for (read, expected) in all {
            assert!(read.same_bits(&expected), "{read:?} {expected:?}");
        }
        let beyond = parse(&file("<u8", "False", "(1,)", &[0xff; 8])).unwrap_err().to_string();
        assert_eq!(beyond, "x.npy: its elements cannot be read: 18446744073709551615 (uint64) is beyond i64");
    }

    #[test]
    fn shapes_and_orders() {
        let read = parse(&file("|u1", "True", "(2, 3)", &[0, 1, 2, 3, 4, 5])).unwrap();
        assert!(read.same_bits(&Tensor::new([[0u8, 2, 4], [1, 3, 5]])));
        assert!(parse(&file("|u1", "False", "(2L, 1L)", &[7, 8])).unwrap().same_bits(&Tensor::new([[7u8], [8]])));
        assert!(parse(&file("|u1", "False", "()", &[7])).unwrap().same_bits(&Tensor::new(7u8)));
        assert_eq!(parse(&file("<f4", "False", "(0, 3)", &[])).unwrap().shape().dims(), [0, 3]);
    }

    #[test]
    fn damage_is_named() {
        let good = to_npy(&Tensor::new([1.0, 2.0])).unwrap();
        let error = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
        assert!(error(b"hello").starts_with("x.npy: is no valid npy file: it does not begin"));
        assert!(error(&[MAGIC, &[9, 0]].concat()).contains("version is unknown"));
        assert!(error(&good[..40]).contains("cut off"));
        assert!(error(&good[..good.len() - 1]).contains("has 15 bytes of data, its shape [2] ('<f8') needs 16"));
        assert!(error(&file("<c8", "False", "(1,)", &[0; 8])).contains("'<c8'"));
        assert!(error(&file("<f4", "False", "(-1,)", &[0; 4])).contains("has no shape"));
        assert!(error(b"\x80\x04\x95").starts_with("x.npy: is no valid npy file, but a Python pickle"));
    }

    #[test]
    fn claims_are_compared_with_what_is_there() {
        let error = |shape: &str| parse(&file("<f4", "False", shape, &[0; 4])).unwrap_err().to_string();
        assert!(error("(1099511627776,)").contains("has 4 bytes of data"));
        for absurd in ["(4611686018427387904,)", "(4294967296, 4294967296)", "(18446744073709551615, 2)"] {
            assert!(error(absurd).contains("more elements than memory can hold"), "{}", error(absurd));
        }
        assert!(error("(99999999999999999999,)").contains("has no shape"));
        let long = [MAGIC, &[2, 0, 0xff, 0xff, 0xff, 0xff]].concat();
        assert!(parse(&long).unwrap_err().to_string().contains("claims 4294967295 bytes"));
    }

    #[test]
    fn what_cannot_be_saved_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        let old = Tensor::new([1, 2, 3]);
        save_npy(&path, &old).unwrap();
        assert!(save_npy(&path, &Tensor::new([bf16::ONE])).is_err());
        assert!(load_npy(&path).unwrap().same_bits(&old));
        let huge = Tensor::ones([1]).unwrap().expand([1 << 46]).unwrap();
        assert_eq!(to_npy(&huge).unwrap_err().kind(), crate::ErrorKind::Memory);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
