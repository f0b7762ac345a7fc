"""A trained network as a folder of plain files, to be passed on or put on the Hugging Face hub.

`release` writes such a folder, `card` the page about it, `reading` reads one that a stranger may
have made, and `remote` brings folders to the hub and from it. There is no pickle in it, and nothing
of it is executed.
"""

from mtl_jax.hub.reading import Release as Release
from mtl_jax.hub.reading import read as read
from mtl_jax.hub.release import ReleaseError as ReleaseError
from mtl_jax.hub.release import is_release as is_release
from mtl_jax.hub.release import write as write
from mtl_jax.hub.remote import download as download
from mtl_jax.hub.remote import repository as repository
from mtl_jax.hub.remote import upload as upload
