"""From addresses in a built module to names: of an instruction the line, of shared memory the array."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

HEADERS = {file.name for file in Path(__file__).parent.glob("*.h")}


HINT = "install binutils to have lines named"


def find_tool(name: str) -> str | None:
    """The path of binutils' addr2line or nm, or of LLVM's."""
    return shutil.which(name) or shutil.which(f"llvm-{name}")


def source_lines(module: Path, return_addresses: Iterable[int]) -> dict[int, str]:
    """ "conv2d.cu:22" for each address, relative to the module, that a call returns to; "?" where nobody can tell.

    An access inside a function of the simulator's headers (__ldg) belongs to the line that calls it.
    """
    wanted = sorted(set(return_addresses))
    tool = find_tool("addr2line")
    if not tool or not wanted:
        return dict.fromkeys(wanted, "?")
    # one less than the address: the call itself, not what follows it
    asked = "\n".join(hex(address - 1) for address in wanted)
    command = [tool, "--addresses", "--inlines", f"--exe={module}"]
    answer = subprocess.run(command, input=asked, capture_output=True, text=True, check=True).stdout
    lines: dict[int, str] = {}
    for line in answer.splitlines():
        if line.startswith("0x"):
            address = int(line, 16) + 1
            continue
        file, _, number = line.partition(" ")[0].rpartition(":")
        if Path(file).name not in HEADERS and number.isdigit():
            lines.setdefault(address, f"{Path(file).name}:{number}")
    return {address: lines.get(address, "?") for address in wanted}


def name_variables(module: Path, text: str) -> str:
    """A message with "byte 292 of static shared memory" as "byte 36 of shared memory tile", and the like for data."""
    found = re.search(r"byte (\d+) of (static shared memory|module data)", text)
    tool = find_tool("nm")
    if not found or not tool:
        return text
    offset = int(found[1])
    wanted, space = ("OBJECT", "__device__") if found[2] == "module data" else ("TLS", "shared memory")
    command = [tool, "--demangle", "--format=sysv", "--defined-only", str(module)]
    for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        name, value, _, kind, size, *_ = [*map(str.strip, line.split("|")), "", "", "", ""]
        if kind == wanted and size and 0 <= offset - int(value, 16) < int(size, 16):
            array = f"byte {offset - int(value, 16)} of {space} {name.rpartition('::')[2]}"
            return text[: found.start()] + array + text[found.end() :]
    return text
