"""A page on this machine: drop a photograph, see what trained networks make of it.

`studio` predicts and keeps what it has found, `facts` says what a page has to know of a task,
`films` predicts on videos, `server` speaks HTTP, and `page/` is what the browser gets. Python's own
server does, so that nothing is to be installed: the frameworks for such pages show pictures, but
not the value of the pixel below the cursor, and some of them load scripts from elsewhere.
"""

from mtl_jax.demo.server import Server as Server
from mtl_jax.demo.studio import DemoError as DemoError
from mtl_jax.demo.studio import Studio as Studio
