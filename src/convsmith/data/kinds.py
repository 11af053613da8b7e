"""What a file is by its first bytes: the formats that are read, and a sentence about those that aren't."""

from __future__ import annotations

import re
from collections.abc import Callable

# Pillow's formats that are pictures of pixels and are decoded by Pillow itself, usual ones first. Not among
# them: EPS, which Ghostscript would run as a program, and those for which Pillow has a header and no decoder.
USUAL = ("JPEG", "PNG", "GIF", "BMP", "PPM")
OTHERS = (
    "TIFF",
    "WEBP",
    "AVIF",
    "JPEG2000",
    "TGA",
    "ICO",
    "PCX",
    "DIB",
    "DDS",
    "SGI",
    "SUN",
    "QOI",
    "PSD",
    "ICNS",
    "CUR",
    "DCX",
    "FITS",
    "FLI",
    "MSP",
    "XBM",
    "XPM",
    "HEIF",
)
# Bytes of a file by which it is known.
HEAD = 2048
_EXPORT = "export it as PNG or JPEG"
_UNPACK = "unpack it"
_FRAMES = "save its frames as images"
_BITS = "save it with 8 or 16 bits, as PNG or TIFF"


def _at(place: int, *words: bytes) -> Callable[[bytes], bool]:
    return lambda head: any(head[place : place + len(word)] == word for word in words)


def _brand(*brands: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[4:8] == b"ftyp" and head[8:12] in brands


def _riff(*words: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[:4] in (b"RIFF", b"RIFX") and head[8:12].startswith(words)


def _text(pattern: bytes) -> Callable[[bytes], bool]:
    expression = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*" + pattern, re.IGNORECASE | re.DOTALL)
    return lambda head: expression.search(head) is not None


HEIC_BRANDS = (
    b"heic",
    b"heix",
    b"heim",
    b"heis",
    b"hevc",
    b"hevx",
    b"hevm",
    b"hevs",
    b"mif1",
    b"mif2",
    b"msf1",
    b"heif",
)
is_heic = _brand(*HEIC_BRANDS)

# (test of the first bytes, what it is, what to do); the first that holds.
_KINDS: tuple[tuple[Callable[[bytes], bool], str, str], ...] = (
    (is_heic, "HEIC", "install pillow-heif, with which it is read, or export it as JPEG"),
    (_brand(b"avif", b"avis"), "AVIF", "install a Pillow that reads it, or export it as JPEG"),
    (_brand(b"crx "), "camera RAW (CR3)", _EXPORT),
    (_at(4, b"ftyp", b"moov", b"mdat"), "a video", _FRAMES),
    (_at(0, b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"), "JPEG XL", _EXPORT),
    (_text(rb"(<\?xml.*?|<!--.*?|<!doctype svg.*?)?<svg[\s>:]"), "SVG", "draw it with pixels, as PNG"),
    (_text(rb"version https://git-lfs"), "a pointer of Git LFS", "fetch the file with git lfs pull"),
    (_text(rb"(<!--.*?-->\s*)?(<!doctype html|<html|<head|<body)"), "a web page", "load the picture again"),
    (_text(rb"%PDF-"), "PDF", "export its pages as PNG"),
    (_at(0, b"%!PS", b"\xc5\xd0\xd3\xc6"), "PostScript", "export it as PNG"),
    (_at(8, b"CR\x02"), "camera RAW (CR2)", _EXPORT),
    (_at(0, b"FUJIFILMCCD-RAW"), "camera RAW (RAF)", _EXPORT),
    (_at(0, b"IIRO", b"IIRS", b"MMOR"), "camera RAW (ORF)", _EXPORT),
    (_at(0, b"IIU\0"), "camera RAW (RW2)", _EXPORT),
    (_at(0, b"FOVb"), "camera RAW (X3F)", _EXPORT),
    (_at(6, b"HEAPCCDR"), "camera RAW (CRW)", _EXPORT),
    (_at(0, b"\0MRM"), "camera RAW (MRW)", _EXPORT),
    (_at(0, b"II\xbc\x01"), "JPEG XR", _EXPORT),
    (_at(128, b"DICM"), "DICOM", "export it as 16-bit PNG or TIFF"),
    (_at(344, b"n+1\0", b"ni1\0"), "NIfTI", "export its slices as 16-bit PNG or TIFF"),
    (_at(0, b"NRRD"), "NRRD", "export its slices as 16-bit PNG or TIFF"),
    (_at(0, b"\x89HDF\r\n\x1a\n"), "HDF5", "export its images as PNG"),
    (_at(0, b"MATLAB 5"), "a MATLAB file", "export its images as PNG"),
    (_at(0, b"\x93NUMPY"), "a NumPy array", "save it as PNG or TIFF"),
    (_at(0, b"\x76\x2f\x31\x01"), "OpenEXR", _BITS),
    (_at(0, b"#?RADIANCE", b"#?RGBE"), "Radiance HDR", _BITS),
    (_at(0, b"PF\n", b"Pf\n", b"PF\r", b"Pf\r"), "a portable float map", _BITS),
    (_at(0, b"gimp xcf"), "a GIMP file", _EXPORT),
    (_at(0, b"8BPB"), "a large Photoshop file (PSB)", _EXPORT),
    (_at(0, b"AT&TFORM"), "DjVu", _EXPORT),
    (_at(0, b"BPG\xfb"), "BPG", _EXPORT),
    (_at(0, b"FLIF"), "FLIF", _EXPORT),
    (_at(0, b"\xd7\xcd\xc6\x9a", b"\x01\0\x09\0\0\x03"), "WMF", "draw it with pixels, as PNG"),
    (_at(40, b" EMF"), "EMF", "draw it with pixels, as PNG"),
    (_riff(b"AVI"), "a video", _FRAMES),
    (_riff(b"WAVE"), "sound", "delete it"),
    (_riff(b"CDR"), "CorelDRAW", _EXPORT),
    (_riff(b"WEBP"), "a damaged WebP", "replace it"),
    (_at(0, b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"FLV\x01", b"0&\xb2u"), "a video", _FRAMES),
    (_at(0, b"ID3", b"OggS", b"fLaC"), "sound or video", "delete it"),
    (_at(0, b"PK\3\4", b"PK\5\6"), "a zip archive (or an Office file, a .npz, a .pt)", _UNPACK),
    (_at(0, b"\x1f\x8b"), "compressed with gzip", _UNPACK),
    (_at(0, b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\xfd7zXZ\0", b"BZh", b"(\xb5/\xfd"), "an archive", _UNPACK),
    (_at(257, b"ustar"), "a tar archive", _UNPACK),
    (_at(0, b"\xd0\xcf\x11\xe0"), "an Office file, or Windows' thumbnails", "delete it"),
    (_at(0, b"MZ", b"\x7fELF", b"\xcf\xfa\xed\xfe"), "a program", "delete it"),
    (_at(0, b"SQLite format 3"), "a data base", "delete it"),
    (_at(0, b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "a TIFF of a kind that isn't read, or damaged", _BITS),
    (_at(0, b"\xff\xd8\xff"), "a damaged JPEG", "replace it"),
    (_at(0, b"\x89PNG"), "a damaged PNG", "replace it"),
    (_at(0, b"GIF8"), "a damaged GIF", "replace it"),
    (lambda head: not any(head), "only zeros, as a broken transfer leaves it", "load it again"),
)


def unread(head: bytes) -> str:
    """Why a file that isn't read as an image isn't, and what to do, by its first bytes.

    >>> unread(b"%PDF-1.7"), unread(b"hello")
    ('not an image that is read: PDF; export its pages as PNG', 'not an image')
    """
    if head[:3] == b"\xff\xd8\xff":
        return _jpeg(head)
    for is_one, name, remedy in _KINDS:
        if is_one(head):
            return f"not an image that is read: {name}; {remedy}"
    return "not an image"


def _jpeg(head: bytes) -> str:
    found = re.search(rb"\xff([\xc0-\xc3\xc5-\xcb\xcd-\xcf\xf7])\0.(.)", head, re.DOTALL)
    if found is None:
        return "not an image that is read: a damaged JPEG; replace it"
    marker, bits = found.group(1)[0], found.group(2)[0]
    if marker in (0xF7, 0xC3, 0xC7, 0xCB, 0xCF):
        return f"not an image that is read: a lossless JPEG; {_BITS}"
    if bits != 8:
        return f"not an image that is read: a JPEG of {bits} bits; {_BITS}"
    return "not an image that is read: a damaged JPEG; replace it"
