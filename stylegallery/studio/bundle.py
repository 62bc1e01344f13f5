"""All that belongs to a result, in one archive: what it was made of, how it is made again, and figures that explain."""

import io
import zipfile

from PIL import Image

from stylegallery import figures
from stylegallery.region_pictures import colours, write_indexed_png
from stylegallery.regions import region_count
from stylegallery.studio.easel import Result

HOW = """What the studio made, and all it is made of.

Unpack this folder beside run.py of StyleGallery-Bench. Then this line makes the same picture again, to the byte:

{command}

So does this one, whose settings are in settings.yaml:

python run.py --config-dir={folder} --config-name=settings

The studio opens stylised.png, together with the pictures, and goes on from there.
"""


def overview_png(result: Result) -> bytes:
    """Everything at a glance."""
    stream = io.BytesIO()
    figures.overview(result.stylization, result.order.item.content.name).savefig(stream)
    return stream.getvalue()


def bundle(result: Result) -> bytes:
    """A zip archive with one folder."""
    folder, made, stream = result.folder, result.stylization, io.BytesIO()
    files = {
        "stylised.png": result.picture.read_bytes(),
        "overview.png": overview_png(result),
        "settings.yaml": result.yaml.encode(),
        "how.txt": HOW.format(command=result.command, folder=folder).encode(),
    }
    for picture in result.started.pictures:
        files[picture.path.name] = picture.path.read_bytes()
    for mask in result.started.choices.masks.values():
        files[mask.name] = mask.read_bytes()
    assert made.content_labels is not None
    maps = {"content": (made.content, made.content_labels)}
    maps |= {f"reference_{n}": (made.references[n - 1], made.reference_labels[n - 1]) for n in made.shown()}
    for name, (image, labels) in maps.items():
        indexed, shown = io.BytesIO(), io.BytesIO()
        write_indexed_png(indexed, labels, (image.shape[-2], image.shape[-1]))
        files[f"regions/{name}.png"] = indexed.getvalue()
        tinted = figures.overlay(image, labels, colours(region_count(labels)))
        Image.fromarray(tinted).save(shown, "png")
        files[f"regions/{name}_overlay.png"] = shown.getvalue()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"{folder}/{name}", (2026, 1, 1, 0, 0, 0)), data)
    return stream.getvalue()
