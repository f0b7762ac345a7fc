"""Predicts on photographs with the exported network beside this file.

    python run_saved_model.py --output=out photos/*.jpg

Needs TensorFlow, NumPy and Pillow (10.1 or later). For each photograph, at its own size, and each
task it writes <name>_<task>.png (or .npy), as metadata.json says. Where photographs share a name,
<name> has their folders too:

  palette_png      class ids, with a palette that shows them in their colours
  millimetre_png   16-bit depth in millimetres, at most 65.535 m
  normals_png      surface normals: x = 2R/255 - 1, y = 1 - 2G/255, z = 1 - 2B/255
  id_png           16-bit instance ids, 0 = none
  share_png        8-bit grey of 0 to 1: 255 times as much, cut off
  npy              the values, float32

The network takes images of one size. Larger photographs are shrunk to fit in, and their maps
enlarged again by nearest neighbour; what is left of the frame repeats the last row and column.
"""

import argparse
import errno
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
# 16-bit grey could mean any range of brightness, or be no photograph at all.
MODES_8_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")
MAX_DEPTH_MILLIMETRES = 65535
# What shows an image of this EXIF orientation upright; 1 is upright already.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class InputError(ValueError):
    """A photograph cannot be used, or its maps not be written; the message says which and why."""


def read_image(path):
    """[H, W, 3] uint8: upright, in RGB, transparent pixels over black."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: expected a file, found a folder, a FIFO or a device.")
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as image:
            if image.mode not in MODES_8_BIT:
                raise InputError(
                    f"{path}: expected a photograph of 8 bits per channel, found mode "
                    f"{image.mode!r} ({image.width}x{image.height}). Convert it to 8 bits first."
                )
            # Only this number is asked for: any other may be one that Pillow does not understand.
            turn = TURNS.get(image.getexif().get(0x0112))
            upright = image if turn is None else image.transpose(turn)
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
                upright = Image.alpha_composite(black, upright)
            return np.array(upright.convert("RGB"), np.uint8)
    except InputError:
        raise
    except Exception as error:  # Pillow raises whatever a damaged file leads it to
        raise InputError(
            f"{path}: does not decode as JPEG or PNG ({type(error).__name__}: {error})."
        ) from error


def fit(image, size):
    """Puts a photograph into the top left corner of a frame.

    Args:
      image: [h, w, 3] uint8.
      size: (H, W) of the frame.

    Returns:
      [H, W, 3] uint8, and the (height, width) of the photograph in it.
    """
    (height, width), (rows, columns) = image.shape[:2], size
    if height > rows or width > columns:
        # The side that has to shrink more decides.
        new, old = (rows, height) if height * columns > width * rows else (columns, width)
        height, width = (max(1, round(side * new / old)) for side in (height, width))
        small = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        image = np.asarray(small)
    pads = ((0, rows - height), (0, columns - width), (0, 0))
    return np.pad(image, pads, mode="edge"), (height, width)


def enlarge(value, size):
    """Nearest neighbour, [h, w, ...] to [H, W, ...]: neither ids nor depths may be mixed."""
    if value.shape[:2] == tuple(size):
        return value
    rows, columns = (
        ((np.arange(large) + 0.5) * small / large).astype(np.int64)
        for large, small in zip(size, value.shape[:2])
    )
    return value[rows[:, None], columns]


def predict(call, image, size):
    """Runs the network on one photograph.

    Args:
      call: uint8 [1, H, W, 3] to {task: [1, H, W, ...]}.
      image: [h, w, 3] uint8.
      size: (H, W) that the network takes.

    Returns:
      {task: [h, w, ...]}.
    """
    framed, (height, width) = fit(image, size)
    return {
        task: enlarge(np.asarray(value)[0, :height, :width], image.shape[:2])
        for task, value in call(framed[None]).items()
    }


def encode(value, about):
    """(contents, suffix) of the file of one map; `about` is its entry in metadata.json."""
    buffer = io.BytesIO()
    if about["file"] == "npy":
        np.save(buffer, np.asarray(value, np.float32))
        return buffer.getvalue(), ".npy"
    picture = PICTURES[about["file"]](value, about)
    picture.save(buffer, format="PNG", compress_level=2)
    return buffer.getvalue(), ".png"


def palette_picture(ids, about):
    picture = Image.fromarray(ids.astype(np.uint8)).convert("L")
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(about["palette"])] = about["palette"]
    picture.putpalette(colours.tobytes())
    return picture


def millimetre_picture(metres, about):
    millimetres = np.rint(metres.astype(np.float64) * 1000)
    if not np.all(millimetres >= 0):
        raise ValueError("Depth must be 0 m or more to be written; found negative pixels or NaN.")
    return Image.fromarray(np.minimum(millimetres, MAX_DEPTH_MILLIMETRES).astype(np.uint16))


def normals_picture(normals, about):
    towards_viewer = normals * np.array([1, -1, -1], np.float32)
    picture = np.rint((np.clip(towards_viewer, -1, 1) + 1) * 127.5).astype(np.uint8)
    picture[~normals.any(axis=-1)] = 0
    return Image.fromarray(picture)


def id_picture(ids, about):
    return Image.fromarray(ids.astype(np.uint16))


def share_picture(shares, about):
    shares = shares.astype(np.float32)
    if not np.all((shares >= 0) & (shares <= 1)):
        raise ValueError("Shares must be from 0 to 1 to be written; found NaN or others.")
    return Image.fromarray((255 * shares).astype(np.uint8))


PICTURES = {
    "palette_png": palette_picture,
    "millimetre_png": millimetre_picture,
    "normals_png": normals_picture,
    "id_png": id_picture,
    "share_png": share_picture,
}


def output_names(files, tasks):
    """A name for each file, so that no two maps share a file: the shortest of four that does.

    That is the file's name without suffix; its path below the common folder, joined by '_'; the
    same with the suffix; or the latter after a number.
    """
    files = [file.absolute() for file in files]
    root = os.path.commonpath([file.parent for file in files])
    below = ["_".join(file.relative_to(root).parts) for file in files]
    forms = (
        [file.stem for file in files],
        [os.path.splitext(path)[0] for path in below],
        [path.replace(".", "_") for path in below],
        [f"{i:06d}_{path.replace('.', '_')}" for i, path in enumerate(below)],
    )
    return next(names for names in forms if are_apart(names, tasks))


def are_apart(names, tasks):
    """Whether no two names share a file, as 'x' does of 'car_depth' and 'x_car' of 'depth'."""
    # Some file systems take no notice of case.
    written = [{f"{name}_{task}".casefold() for task in tasks} for name in names]
    return len(set().union(*written)) == sum(map(len, written))


def write(file, contents):
    """Writes a file, whose name may be longer than the file system takes."""
    try:
        file.write_bytes(contents)
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ):
            raise
        raise InputError(f"{file.name}: cannot be written ({error.strerror}).") from error


def printable(text):
    """Text in which bytes of a name that are no UTF-8 are escapes."""
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def load(folder):
    """The network's function, uint8 [B, H, W, 3] to {task: tensor}."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    network = tf.saved_model.load(str(folder / "saved_model"))
    return lambda image: network.maps(tf.constant(image))


def main(argv):
    parser = argparse.ArgumentParser(description="Predicts on photographs.")
    parser.add_argument("photographs", nargs="+", type=Path, help="JPEG and PNG files")
    parser.add_argument("--output", required=True, type=Path, help="the folder to write to")
    arguments = parser.parse_args(argv)
    photographs = list(dict.fromkeys(arguments.photographs))
    metadata = json.loads((HERE / "metadata.json").read_text())
    size = metadata["input"]["shape"][1:3]
    names = output_names(photographs, metadata["maps"])
    try:
        arguments.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output={arguments.output} cannot be written ({error.strerror})")
    call = load(HERE)
    failures = []
    for path, name in zip(photographs, names):
        try:
            for task, value in predict(call, read_image(path), size).items():
                contents, suffix = encode(value, metadata["maps"][task])
                write(arguments.output / f"{name}_{task}{suffix}", contents)
        except InputError as error:
            failures.append(printable(error))
    print(f"Predicted on {len(names) - len(failures)} of {len(names)} images: {arguments.output}")
    print(*failures, sep="\n", end="\n" if failures else "", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
