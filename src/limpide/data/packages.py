"""The containers of Office files: a zip package, or an OLE file before 2007 and under a password."""

import zipfile

OLE = b"\xd0\xcf\x11\xe0"  # its first bytes
NO_PACKAGE = (  # what zipfile raises for a file that is no package, or a damaged one
    zipfile.BadZipFile,
    RuntimeError,  # for a newer form of zip than it reads
    OSError,
    ValueError,
)
