"""Which image files DATA holds, with the label and the split that its layout gives each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from convsmith.data import table
from convsmith.data.item import Item, split_word
from convsmith.errors import UserError, shown

# What cameras, storage boxes and systems put beside pictures: thumbnails, deleted files, resource forks.
SYSTEM = frozenset(
    {
        *("@eadir", "#recycle", "$recycle.bin", "@recycle", "@recently-snapshot", "@tmp", "lost+found"),
        *("__macosx", "system volume information", "thumbs.db", "desktop.ini", "icon\r", "ehthumbs.db"),
        "__pycache__",
    }
)
# Ends of pictures' names.
PICTURES = tuple(
    f".{end}"
    for end in (
        "jpg",
        "jpeg",
        "png",
        "gif",
        "bmp",
        "tif",
        "tiff",
        "webp",
        "avif",
        "heic",
        "heif",
        "jp2",
        "ppm",
    )
)


@dataclass(frozen=True)
class Found:
    """Images, sorted by path, and what lies in DATA beside them and isn't used, in words."""

    items: list[Item]
    unused: list[str] = field(default_factory=list)


def find(data: Path, group: str | None = None) -> list[Item]:
    """List the images of a folder or CSV; see :func:`survey`."""
    return survey(data, group).items


def survey(data: Path, group: str | None = None, *, to_train: bool = True) -> Found:
    """List the images of a folder or CSV, sorted by path; nothing is opened but the CSV.

    Layouts: ``CLASS/*.jpg``; ``train/CLASS/*.jpg`` with ``val/`` and/or ``test/``, also as ``Training``,
    ``test_set``, ``seg_train`` and the like; a CSV with the columns ``path`` (relative to the CSV) and
    ``label``, or numbers in ``target`` or several ``target_NAME``, and optionally ``split``; with labels also
    what each decision costs, ``cost_CLASS``.

    Args:
        data: a folder or a CSV.
        group: column of the CSV that says what belongs together.
        to_train: whether a training split is needed, if there are any.

    Raises:
        UserError: if there is nothing of the kind, with what was found, or a folder can't be read.
    """
    if data.is_file():
        items, unused = table.read(data, group)
        found = Found(items, unused)
    else:
        found = _from_folder(data, to_train)
    if not found.items:
        beside = f" ({', '.join(found.unused)})" if found.unused else ""
        raise UserError(
            f"no images under {shown(data)}{beside}; put them into one folder for each class, CLASS/*.jpg"
        )
    return Found(sorted(found.items, key=lambda item: str(item.path)), found.unused)


def _from_folder(root: Path, to_train: bool) -> Found:
    folders = _subfolders(root)
    splits = _splits(folders)
    others = [folder for folder in folders if folder not in splits]
    # A class may be called "train" too (vehicles): its folder holds images, not folders.
    if any(split == "train" and _subfolders(folder) for folder, split in splits.items()):
        _refuse_doubtful(root, splits, others)
        items = [item for folder, split in splits.items() for item in _classes(_inner(folder), split)]
        loose = [line for folder in splits for line in _loose(_inner(folder), root)]
        return Found(items, [*_loose(root, root), *loose, *_counts(others, root)])
    if splits and not others and all(_subfolders(folder) for folder in splits):
        if to_train:
            names = ", ".join(shown(folder.name) for folder in splits)
            raise UserError(f"{shown(root)} has {names} but no train/ folder; add it")
        items = [item for folder, split in splits.items() for item in _classes(_inner(folder), split)]
        return Found(items, _loose(root, root))
    return Found(list(_classes(root, None)), _loose(root, root))


def _splits(folders: Sequence[Path]) -> dict[Path, str]:
    """Which folders are splits: those whose names say so, and are alike in all else, as seg_train, seg_test.

    Of two for one split the plainer name counts, ``val`` before ``eval``.
    """
    words = {folder: split_word(folder.name) for folder in folders}
    named = {folder: word for folder, word in words.items() if word is not None}
    rest = {word.rest for word in named.values() if word.split == "train"}
    found: dict[Path, str] = {}
    for folder, word in sorted(named.items(), key=lambda pair: (not pair[1].plain, pair[0].name)):
        if word.split not in found.values() and (not rest or word.rest in rest):
            found[folder] = word.split
    return found


def _inner(folder: Path) -> Path:
    """The folder that holds a split's classes: archives often hold a folder of the same name once more."""
    inner = _subfolders(folder)
    same = len(inner) == 1 and inner[0].name.lower() == folder.name.lower()
    return inner[0] if same and _subfolders(inner[0]) else folder


def _refuse_doubtful(root: Path, splits: dict[Path, str], others: Sequence[Path]) -> None:
    """Refuse a lone ``train/`` among other folders of classes: it may be a split, or a class of vehicles."""
    classes = [folder.name for folder in others if any(_pictures(inner) for inner in _subfolders(folder))]
    if set(splits.values()) == {"train"} and classes:
        raise UserError(
            f"{shown(root)} has a folder train/ and others with pictures "
            f"({', '.join(map(shown, classes[:3]))}): if train/ is a split, call the others val and test, or "
            f"move them out; if it is a class, rename it"
        )


def _classes(root: Path, split: str | None) -> Iterator[Item]:
    for folder in _subfolders(root):
        for path in files(folder):
            yield Item(path, folder.name, split)


def _loose(folder: Path, root: Path) -> list[str]:
    """Pictures beside the folders of classes, in words."""
    count = sum(is_picture(entry.name) and entry.is_file() for entry in _entries(folder))
    if not count:
        return []
    where = "" if folder == root else f" in {shown(folder.relative_to(root))}/"
    return [f"{_images(count)} beside the folders of classes{where}"]


def _counts(folders: Sequence[Path], root: Path) -> list[str]:
    counts = {folder: _pictures(folder) for folder in folders}
    return [f"{shown(folder.name)}/ ({_images(count)})" for folder, count in counts.items() if count]


def _pictures(folder: Path) -> int:
    return sum(is_picture(path.name) for path in files(folder))


def is_picture(name: str) -> bool:
    """Whether a name ends as those of pictures do; what a file is, its content says."""
    return name.lower().endswith(PICTURES)


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def name_within(file: Path, root: Path | None) -> str:
    """A file's name within a folder, or beside a CSV; its whole path where it lies elsewhere."""
    parent = root if root is None or root.suffix.lower() != ".csv" else root.parent
    absolute = file.absolute()
    inside = parent is not None and absolute.is_relative_to(parent)
    return absolute.relative_to(parent).as_posix() if inside and parent is not None else absolute.as_posix()


def empty_classes(data: Path, items: Sequence[Item]) -> list[str]:
    """Folders in which images of a class should lie, and none does, as paths within ``data``."""
    if not data.is_dir():
        return []
    full = {item.path.relative_to(data).parts[: 2 if item.split else 1] for item in items}
    roots = [data / name for name in {parts[0] for parts in full if len(parts) == 2}] or [data]
    folders = (folder.relative_to(data) for root in sorted(roots) for folder in _subfolders(root))
    return [str(folder) for folder in folders if folder.parts not in full]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(_unreadable(folder, error)) from None
    return [entry for entry in entries if not _is_hidden(entry.name)]


def _subfolders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if entry.is_dir() or _dangles(entry)]


def _dangles(entry: os.DirEntry[str]) -> bool:
    """Whether this is a link to a place that has gone, not called as a file is: a class without images."""
    return entry.is_symlink() and not entry.is_file() and not Path(entry.name).suffix


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def _unreadable(folder: Path | str, error: OSError) -> str:
    return (
        f"cannot read the folder {shown(folder)} ({error.strerror}); make it readable, or move it out of DATA"
    )


def files(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        if Path(error.filename).exists():  # a link to nothing holds nothing
            raise UserError(_unreadable(error.filename, error)) from None

    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link back up the tree
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        yield from (Path(here, name) for name in names if not _is_hidden(name))
