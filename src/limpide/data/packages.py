"""The containers of Office files: a zip package, or an OLE file before 2007 and under a password."""

import zipfile

OLE = b"\xd0\xcf\x11\xe0"  # its first bytes
# Raised where a file is no package: NotImplementedError is zipfile's word for one that asks for a newer zip.
NO_PACKAGE = (zipfile.BadZipFile, NotImplementedError, OSError, ValueError)
