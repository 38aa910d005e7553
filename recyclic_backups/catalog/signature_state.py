"""What vouches for a stored document. Pure."""

from __future__ import annotations

from enum import StrEnum


class Standing(StrEnum):
    """The words of docs/format/documents.md; reports and JSON use the same."""

    SIGNED = "signed"
    """A right MAC by a key of the storage."""
    CHECKSUM = "checksum"
    """A right SHA-256, in a storage without keys: it shows damage, not forgery."""
    NOT_CHECKED = "not checked"
    """A MAC, and no key at hand to check it with."""
    UNSIGNED = "unsigned"
    """No MAC, in a storage that asks for one."""
    FOREIGN = "of another storage"
    """A right MAC by a key that does not belong to this storage."""
    DAMAGED = "damaged"
    """A MAC or SHA-256 that is wrong."""

    @property
    def is_vouched_for(self) -> bool:
        """Whether what vouches for it was checked and is right."""
        return self in (Standing.SIGNED, Standing.CHECKSUM)

    @property
    def is_believed(self) -> bool:
        """Whether the document exists for those who did not ask for others."""
        return self not in _NOT_BELIEVED

    @property
    def problem(self) -> str:
        """What is said of one that is not believed."""
        return _NOT_BELIEVED.get(self, "")


_NOT_BELIEVED = {
    Standing.UNSIGNED: "it is not signed: somebody put it there, or it was made before encryption was turned on",
    Standing.FOREIGN: "it belongs to another storage: it is signed with a key that is none of this one's",
    Standing.DAMAGED: "it was edited, damaged or moved",
}
