"""Whether an image file is there to its last byte.

Pillow is content when all pixels have arrived; the decoder that reads records is not.
"""

import zlib

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"


def is_complete(contents: bytes) -> bool:
    """False of a PNG or JPEG whose end is missing or damaged; other formats are not looked at."""
    if contents.startswith(_PNG):
        return _png_ends(contents)
    if contents.startswith(_JPEG):
        return _jpeg_ends(contents)
    return True


def _png_ends(contents: bytes) -> bool:
    """Goes from chunk to chunk: length, name, data, checksum of name and data, up to IEND."""
    position = len(_PNG)
    while position + 12 <= len(contents):
        length = int.from_bytes(contents[position : position + 4])
        name = contents[position + 4 : position + 8]
        end = position + 8 + length
        if name[:1].isupper():  # needed for decoding; others are passed over if they are damaged
            checksum = zlib.crc32(contents[position + 4 : end])
            if contents[end : end + 4] != checksum.to_bytes(4):
                return False
        if name == b"IEND":
            return True
        position = end + 4
    return False


def _jpeg_ends(contents: bytes) -> bool:
    """Goes from segment to segment to the first scan, after which the end has to be marked."""
    position = 2
    while position + 4 <= len(contents):
        if contents[position] != 0xFF:
            return False
        marker = contents[position + 1]
        if marker == 0xFF:  # padding
            position += 1
            continue
        if marker == _START_OF_SCAN:
            # Within a scan 0xFF is followed by 0 or the number of a restart, never by this.
            return contents.find(_END_OF_IMAGE, position) >= 0
        position += 2 + int.from_bytes(contents[position + 2 : position + 4])
    return False
