"""Runs a command in a terminal of 80 by 24 and types as a person does; prints what the terminal received.

The second argument is JSON, a list of [what to type, a pattern to wait for in what follows].

    python3 tests/terminal.py '["node", "lib/bin/alignbook.js", "chat", …]' '[["", "> $"], ["Hello\\r", "> $"]]'

The exit status is the command's, or 99 if a pattern does not come within a minute.
"""

import fcntl
import json
import os
import pty
import re
import select
import struct
import sys
import termios
import time

command, typed = map(json.loads, sys.argv[1:])
process, terminal = pty.fork()
if process == 0:
    os.execvp(command[0], command)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))


def read(seconds: float) -> str | None:
    """What the terminal receives, an empty text if nothing comes; None once the command has ended."""
    if not select.select([terminal], [], [], seconds)[0]:
        return ""
    try:
        return os.read(terminal, 65536).decode(errors="replace") or None
    except OSError:
        return None


for keys, pattern in typed:
    os.write(terminal, keys.encode())
    received, end = "", time.time() + 60
    while not re.search(pattern, received):
        part = read(0.1)
        if part is None or time.time() > end:
            print(f"{received}\nno {pattern!r} after {keys!r}", file=sys.stderr)
            sys.exit(99)
        received += part
        sys.stdout.write(part)
while (part := read(10)) is not None and part != "":
    sys.stdout.write(part)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
