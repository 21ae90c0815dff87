#!/usr/bin/env python3
"""Plants the faults of tests/plan_faults.txt in the planner of loops, one after another, in a copy
of the tree, and looks whether a suite tells each.  usage: plan_faults.py COPY [WORDS]
COPY is a folder to build in; it is made anew. WORDS: only faults whose names contain them. Ends
with one line: N passed, N failed, N skipped."""
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SUITES = ["test_plan", "test_plan_steps", "test_scan", "test_bits"]


def faults():
    """Name, file, text, what it becomes."""
    with open(os.path.join(ROOT, "tests/plan_faults.txt"), encoding="utf-8") as f:
        for block in f.read().split("## ")[1:]:
            name, file, rest = block.split("\n", 2)
            text, becomes = rest.split("\n=>\n")
            yield name, file, " ".join(text.split()), " ".join(becomes.split())


def told(copy, build):
    """The suite that fails; None: all pass. A tree that does not build is told by the compiler."""
    targets = ["tests/" + suite for suite in SUITES]
    if subprocess.run(["ninja", "-C", build] + targets, stdout=subprocess.DEVNULL).returncode != 0:
        return "the compiler"
    for suite in SUITES:
        try:
            run = subprocess.run([os.path.join(build, "tests", suite)], cwd=copy, timeout=300,
                                 env=dict(os.environ, WEFT_BUILD=build),
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return suite + ", which hangs"
        if run.returncode != 0:
            return suite
    return None


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: plan_faults.py COPY [WORDS]")
    words = sys.argv[2] if len(sys.argv) == 3 else ""
    copy = os.path.abspath(sys.argv[1])
    build = os.path.join(copy, "build")
    shutil.rmtree(copy, ignore_errors=True)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True,
                             text=True).stdout.split("\n")
    for name in filter(None, tracked):
        to = os.path.join(copy, name)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy2(os.path.join(ROOT, name), to)
    subprocess.run(["meson", "setup", build, "-Dbuildtype=release", "-Dexamples=false",
                    "-Dbench=false"], cwd=copy, check=True, stdout=subprocess.DEVNULL)
    if told(copy, build):
        sys.exit("without a fault the suites must pass")
    passed = failed = 0
    for name, file, text, becomes in faults():
        if words not in name:
            continue
        path = os.path.join(copy, file)
        with open(path, encoding="utf-8") as f:
            whole = f.read()
        pattern = r"\s+".join(re.escape(word) for word in text.split())
        planted, n = re.subn(pattern, lambda _: becomes, whole)
        by = None
        if n == 1:
            with open(path, "w", encoding="utf-8") as f:
                f.write(planted)
            by = told(copy, build)
            with open(path, "w", encoding="utf-8") as f:
                f.write(whole)
        good = by is not None and by != "the compiler"
        passed, failed = passed + good, failed + (not good)
        why = by or ("is not told" if n == 1 else "the text is there %d times" % n)
        print("%s: %s" % (name, why), flush=True)
    print("%d passed, %d failed, 0 skipped" % (passed, failed))
    sys.exit(failed > 0)


main()
