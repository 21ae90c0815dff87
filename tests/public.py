#!/usr/bin/env python3
"""The public functions as the compiler lists them, for tests/test_misuse.c to call.

usage: public.py list OUT.inc SOURCE COMPILER...   a table of the functions, and what calls each
       public.py sentences ROWS                    rows that the suite recorded (function, tab,
                                                   line), as tests/sentences.txt
"""
import os
import re
import subprocess
import sys
import tempfile
import textwrap


def parameters(text):
    """The types between a prototype's parentheses, split at the commas of the outermost level."""
    parts, depth, now = [], 0, ''
    for c in text:
        depth += (c == '(') - (c == ')')
        if c == ',' and not depth:
            parts.append(now.strip())
            now = ''
        else:
            now += c
    return [part for part in parts + [now.strip()] if part != 'void']


def prototypes(source, compiler):
    """(result, name, types) of every function that weft.h declares: gcc writes one on each line."""
    with tempfile.TemporaryDirectory() as folder:
        face, listed = os.path.join(folder, 'face.c'), os.path.join(folder, 'listed')
        with open(face, 'w', encoding='utf-8') as file:
            file.write('#include "weft.h"\n')
        subprocess.run(compiler + ['-std=gnu11', '-I' + source, '-aux-info', listed,
                                   '-fsyntax-only', face], check=True)
        with open(listed, encoding='utf-8') as file:
            lines = file.read().splitlines()
    for line in lines:
        found = re.match(r'/\* .* \*/ extern (.*?)\b(wf_\w+) \((.*)\);$', line)
        if found:
            yield found.group(1).strip(), found.group(2), parameters(found.group(3))


def write_list(out, source, compiler):
    calls, rows = [], []
    for result, name, types in prototypes(source, compiler):
        if any('va_list' in kind for kind in types):
            continue                      # no program can spell it: test_misuse_tensor.c calls it
        fixed = [kind for kind in types if kind != '...']
        given = ['AS(%s, a[%d])' % (kind, i) for i, kind in enumerate(fixed)]
        given += ['0'] * (len(types) - len(fixed))
        keep = '' if result == 'void' else '*(__typeof__(%s) *)result = ' % result
        calls.append('static void call_%s(const void *const a[], void *result)\n{\n'
                     '    (void)a, (void)result;\n    %s%s(%s);\n}\n'
                     % (name, keep, name, ', '.join(given)))
        kinds = ', '.join('"%s"' % kind for kind in fixed) or 'NULL'
        rows.append('    { "%s", call_%s, "%s", %d, { %s } },\n'
                    % (name, name, result, len(fixed), kinds))
    with open(out, 'w', encoding='utf-8') as file:
        file.write('/* Made by tests/public.py. */\n'
                   '#define AS(type, at) (*(const __typeof__(type) *)(at))\n' + '\n'.join(calls) +
                   '\nstatic const public_function functions[] = {\n' + ''.join(rows) + '};\n')


def print_sentences(rows):
    """Functions that say the same under one heading."""
    said, blocks = {}, {}
    with open(rows, encoding='utf-8') as file:
        for row in file.read().splitlines():
            name, line = row.split('\t')
            said.setdefault(name, []).append(line)
    for name in sorted(said):
        blocks.setdefault('\n'.join('    ' + line for line in said[name] if line), []).append(name)
    print('# What public functions say of what they cannot take: of each kind of sentence the '
          'first\n# call that brings it about; the name of the function itself is *. Made by '
          'tests/public.py\n# of what tests/test_misuse.c records; what changes is read. '
          'Those that stand last say nothing.')
    for block in blocks:
        if block:
            print(' '.join(blocks[block]) + '\n' + block)
    print(textwrap.fill(' '.join(blocks.get('', [])), 100))


if sys.argv[1] == 'list':
    write_list(sys.argv[2], sys.argv[3], sys.argv[4:])
else:
    print_sentences(sys.argv[2])
