#!/usr/bin/env python3
"""Makes the reference out of the sources: every public function, op, type and macro with its
prototype, meaning, errors and, for ops, derivative.

usage: make_reference.py SOURCE ops OUT.h        the header of the ops as it is installed
       make_reference.py SOURCE html OUT.html    one page
       make_reference.py SOURCE man OUT          a folder of man pages, one for each name

Meanings are the comments of the public headers and the strings of the two .def files. Errors are
the sentences that the function's own code can say, found by following its calls as far as the next
public function of another file.
"""
import html
import os
import re
import sys

FOLDERS = ['tensor', 'autograd', 'layers', 'optim', 'data', 'train']
SAYS = r'\b(?:wf_fail|wf_refuse|wf_error_set|wf_module_fail|wf_log_line)\s*\('


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


class Entry:
    """One thing of a header: kind is function, type, macro or op."""
    def __init__(self, kind, name, code, doc, header):
        self.kind, self.name, self.code, self.doc, self.header = kind, name, code, doc, header
        self.derivative, self.errors, self.group = [], [], []


def plain(comment):
    """The words of a C comment, paragraphs kept."""
    text = re.sub(r'^/\*+|\*+/$', '', comment.strip(), flags=re.S)
    lines = [re.sub(r'^\s*\* ?', '', line).rstrip() for line in text.split('\n')]
    paragraphs, now = [], []
    for line in lines + ['']:
        if line.strip():
            now.append(line.strip())
        elif now:
            paragraphs.append(' '.join(now))
            now = []
    return '\n\n'.join(paragraphs)


def call_end(text, start):
    """Where the parenthesis that opens at start closes; strings and characters are skipped."""
    depth, at = 0, start
    while at < len(text):
        c = text[at]
        if c in '"\'':
            at += 1
            while text[at] != c:
                at += 2 if text[at] == '\\' else 1
        elif c == '(':
            depth += 1
        elif c == ')':
            depth -= 1
            if depth == 0:
                return at
        at += 1
    raise ValueError('a parenthesis is never closed')


def arguments(text):
    """The arguments of a macro call, split at the commas of the outermost level."""
    parts, depth, at, begin = [], 0, 0, 0
    while at < len(text):
        c = text[at]
        if c in '"\'':
            at += 1
            while text[at] != c:
                at += 2 if text[at] == '\\' else 1
        elif c in '([{':
            depth += 1
        elif c in ')]}':
            depth -= 1
        elif c == ',' and depth == 0:
            parts.append(text[begin:at].strip())
            begin = at + 1
        at += 1
    return parts + [text[begin:].strip()]


def literals(text):
    """The string literals at the start of text, joined as C joins them."""
    joined, at = '', 0
    while True:
        found = re.compile(r'\s*(?:(PRI\w+)|"((?:[^"\\]|\\.)*)")').match(text, at)
        if not found:
            return joined
        joined += 'lld' if found.group(1) else found.group(2)
        at = found.end()


# ---- headers ----

TOKEN = re.compile(r'''
    (?P<comment>/\*.*?\*/)
  | (?P<directive>\#(?:[^\n\\]|\\\n|\\.)*)
  | (?P<blank>\n[ \t]*\n)
  | (?P<space>\s+)
  | (?P<skip>(?:WF_BEGIN|WF_END)\b | extern\s+"C(?:\+\+)?"\s*\{)
''', re.X | re.S)


def declaration_end(text, at):
    """The end of a declaration: its ; or, for a function's body, its last brace."""
    depth = 0
    while at < len(text):
        if text.startswith('/*', at):
            at = text.index('*/', at) + 2
            continue
        c = text[at]
        if c == '{':
            depth += 1
        elif c == '}':
            depth -= 1
            if depth == 0 and re.match(r'\s*(\n|$)',
                                       text[at + 1:]) and ';' not in text[at + 1:at + 2]:
                return at + 1
        elif c == ';' and depth == 0:
            return at + 1
        at += 1
    return at


def without_cplusplus(text):
    """The header as C sees it: what stands under #ifdef __cplusplus goes, its #else stays."""
    kept, stack = [], []
    for line in text.split('\n'):
        if re.match(r'\s*#\s*if', line):
            stack.append('no' if re.match(r'\s*#\s*ifdef __cplusplus', line) else 'plain')
            if stack[-1] == 'no':
                continue
        elif re.match(r'\s*#\s*else', line) and stack and stack[-1] in ('no', 'yes'):
            stack[-1] = 'yes'
            continue
        elif re.match(r'\s*#\s*endif', line) and stack:
            if stack.pop() in ('no', 'yes'):
                continue
        if 'no' not in stack:
            kept.append(line)
    return '\n'.join(kept)


def header_entries(source, header):
    text = without_cplusplus(read(os.path.join(source, header)))
    entries, doc, group, apart = [], '', [], False
    at = text.index('*/') + 2                           # the file's own comment belongs to no entry
    while at < len(text):
        token = TOKEN.match(text, at)
        if token:
            if token.lastgroup == 'comment':
                same_line = entries and '\n' not in text[entries[-1].end:at]
                if same_line:
                    entries[-1].doc = (entries[-1].doc + '\n\n' + plain(token.group())).strip()
                else:                                   # a heading is no meaning of what follows
                    doc, group = re.sub(r'^-{4} .*? -{4}\s*', '', plain(token.group())), []
            elif token.lastgroup == 'blank':
                apart = True
            elif token.lastgroup == 'directive':
                code = token.group()
                macro = re.match(r'#\s*define\s+(WF_\w+)', code)
                if macro and header != 'autograd/ops.h':
                    entry = Entry('macro', macro.group(1), re.sub(r'\s*\\\n\s*', ' ', code), doc,
                                  header)
                    entry.end = token.end()
                    entries.append(entry)
                    group.append(entry)
                    entry.group = group
            at = token.end()
            continue
        end = declaration_end(text, at)
        code = text[at:end].strip()
        at = end
        name, kind = None, 'type'
        if code.startswith('WF_API') or code.startswith('static inline'):
            kind = 'function'
            bare = re.sub(r'\bWF_(API|MUST_USE)\b\s*|\s*WF_PRINTF\([^)]*\)', '', code)
            name = re.search(r'(\w+)\s*\(', bare).group(1)
            whole = kind == 'function' and not bare.startswith('static')
            code = bare if whole else bare.split('{')[0].strip() + ';'
            code = re.sub(r'^static inline ', '', code)
        elif code.startswith('typedef'):
            function_type = re.search(r'^typedef [\w\s\*]*?(\w+)\s*\([^*]',
                                      code) if '{' not in code else None
            name = function_type.group(1) if function_type else re.search(r'(\w+)\s*;$',
                code).group(1)
        elif code.startswith('enum') or code.startswith('struct'):
            found = re.match(r'struct (\w+)', code)
            name = found.group(1) if found else ', '.join(re.findall(r'\b(WF_\w+)', code))
        if not name:
            continue
        if kind == 'type' and apart and group:          # a comment is of what stands right below it
            doc, group = '', []
        apart = False
        entry = Entry(kind, name, code, doc, header)
        entry.end = end
        entries.append(entry)
        group.append(entry)
        entry.group = group
    return entries


# ---- the ops ----

def formula(expression):
    """A C expression of pointwise.def as a person writes it."""
    text = re.sub(r'\s+', ' ', expression)
    text = re.sub(r'\bR\(([^()]*)\)', r'\1', text)
    return re.sub(r'\b[A-Z][A-Z0-9_]{2,}\b', lambda m: m.group().lower(), text)


def sentence(doc):
    """With a capital, unless it begins with the name of an input or with a number, and a stop."""
    return (doc[0].upper() if re.match(r'[a-z]{2}', doc) and not re.match(r'[a-z]+\(', doc)
            else doc[0]) + doc[1:] + '.'


def lines(source, file):
    """The lines WF_KIND(...) of a .def file: their kinds and arguments."""
    text = read(os.path.join(source, file))
    for line in re.finditer(r'^WF_(\w+)\(', text, re.M):
        start = line.end() - 1
        yield line.group(1), arguments(text[start + 1:call_end(text, start)])


def op_entries(source):
    """The ops that ops.h has from the lines of pointwise.def and ops.def."""
    given = dict(re.findall(r'#define WF_(POINTWISE_\w+)\(name, doc, \.\.\.\)[\s\\]+'
                            r'WF_API wf_var \*wf_##name(\(.*\));',
                            read(os.path.join(source, 'autograd/ops.h'))))
    shapes = {'POINTWISE_WHERE': 'where_shape', 'POINTWISE_COMPARE': 'compare_shape'}
    entries = []

    def add(row, parameters, doc):
        entry = Entry('op', 'wf_' + row, 'wf_var *wf_%s%s;' % (row, parameters), doc,
                      'autograd/ops.h')
        entry.row, entry.group = row, [entry]
        entries.append(entry)
        return entry

    for kind, parts in lines(source, 'autograd/pointwise.def'):
        entry = add(parts[0], given[kind], sentence(literals(parts[1])))
        entry.shape = shapes.get(kind, 'wf_pointwise_shape')
        wrt = re.findall(r'wf_var \*([abc])', given[kind]) if len(parts) > 3 else []
        entry.derivative = ['%s += %s' % (a, formula(d)) for a, d in zip(wrt, parts[3:])]
        if not wrt:
            entry.doc += ' It has no gradient.'
    for kind, parts in lines(source, 'autograd/ops.def'):
        if kind == 'OP':
            add(parts[0], re.sub(r'\s+', ' ', parts[1]), literals(parts[2]))
    return entries


# ---- errors ----

class Code:
    """The functions of the library's sources, and what each can say."""
    def __init__(self, source):
        self.functions, self.rows = {}, {}
        for folder in FOLDERS:
            for name in sorted(os.listdir(os.path.join(source, folder))):
                if name.endswith('.c'):
                    self.add(folder + '/' + name, read(os.path.join(source, folder, name)))

    def add(self, path, text):
        body = (r'^(?!typedef|#|enum|struct [^(]*\{)[a-zA-Z_][^;{}#]*?\b(\w+)\([^;{}]*\)\s*\n'
                r'\{\n(.*?)^\}')
        for found in re.finditer(body, text, re.M | re.S):
            self.functions.setdefault(found.group(1), []).append((path, found.group(2)))
        for row in re.finditer(r'^const wf_op op_(\w+) = \{(.*?)^\};', text, re.M | re.S):
            self.rows[row.group(1)] = (path, re.findall(r'\.(?:shape|check) = (\w+)',
                                                        row.group(2)))

    def body(self, name, path):
        all_of = self.functions.get(name, [])
        here = [b for p, b in all_of if p == path]
        if here:
            return path, here[0]
        return all_of[0] if len(all_of) == 1 else (None, None)

    def said(self, name, path, who, public, seen):
        """Sentences of a function of a file and of what it calls, as far as a public function of
        another file."""
        where, body = self.body(name, path)
        if body is None or (where, name) in seen:
            return []
        seen.add((where, name))
        sentences = []
        for call in re.finditer(SAYS, body):
            inside = arguments(body[call.end():call_end(body, call.end() - 1)])
            texts = [literals(a) for a in inside[:2] if a.startswith('"')]
            if call.group().startswith('wf_fail'):      # what stands first there is who speaks
                texts = [re.sub(r'^%s: ', who + ': ', t) for t in texts]
            sentences += [t for t in texts if t and not re.fullmatch(r'(%s|[: ]|\\n)*', t)]
        for called in re.findall(r'\b([a-z_]\w*)\s*\(', body):
            here = any(p == where for p, _ in self.functions.get(called, []))
            if (here or called not in public) and called != 'var_enter':
                sentences += self.said(called, where, who, public, seen)
        return sentences


def attach_errors(source, entries):
    code = Code(source)
    public = {e.name for e in entries if e.kind in ('function', 'op')}
    for entry in entries:
        if entry.kind not in ('function', 'op'):
            continue
        short = re.sub('^wf_(tape_)?', '', entry.name)
        found = code.said(entry.name, None, short, public, set())
        row = getattr(entry, 'row', None)
        if row:
            path, functions = code.rows.get(row) or ('autograd/pointwise.c', [entry.shape])
            for function in functions:
                if function not in code.functions:
                    sys.exit('%s: there is no function %s' % (row, function))
                found += ['%s: %s' % (row, s)
                          for s in code.said(function, path, short, public, set())]
        entry.errors = [s.replace('\\n', ' ').replace('\\"', '"') for s in dict.fromkeys(found)]


def shown(sentence):
    """A format as a reader takes it: its conversions are dots."""
    return re.sub(r'%[-+ 0#]*[\d.*]*(?:hh|h|ll|l|z|j)?[a-zA-Z]', '…', sentence).replace('%%', '%')


def once(entries):
    """Each name once: a type where its fields are, a macro as its first definition."""
    kept = {}
    for entry in entries:
        before = kept.get(entry.name)
        if before is None:
            kept[entry.name] = entry
        elif '{' in entry.code and '{' not in before.code:
            entry.doc = (before.doc + '\n\n' + entry.doc).strip()
            kept[entry.name] = entry
    return list(kept.values())


def everything(source):
    entries = []
    includes = re.findall(r'#include "(\S+)"', read(os.path.join(source, 'weft.h')))
    # weft.h leaves two to those who want them.
    for header in includes + ['autograd/tile.h', 'autograd/pointwise.h']:
        entries += header_entries(source, header)
        if header == 'autograd/ops.h':
            entries += op_entries(source)
    attach_errors(source, once(entries))
    return once(entries)


# ---- what is written ----

def wrapped(text, width, first, rest):
    lines, now = [], first
    for word in text.split():
        if len(now) + len(word) + 1 > width and now.strip() not in ('', '*', '/*'):
            lines.append(now.rstrip())
            now = rest
        now += word + ' '
    return '\n'.join(lines + [now.rstrip()])


def comment(text):
    lines = wrapped(text.replace('*/', '* /'), 96, '/* ', ' * ')
    return lines + ' */'


def write_ops(source, out):
    """ops.h with its lines of macros replaced by what they stand for."""
    text = read(os.path.join(source, 'autograd/ops.h'))
    said = []
    for entry in op_entries(source):
        derivative = '; '.join(entry.derivative)
        derivative = ' Gradients: ' + derivative + '.' if derivative else ''
        said += [comment(entry.doc + derivative), 'WF_API ' + entry.code]
    start = text.index('/* Their prototypes')
    end = text.index('#include "autograd/ops.def"') + len('#include "autograd/ops.def"')
    with open(out, 'w', encoding='utf-8') as file:
        file.write(text[:start] + '\n'.join(said) + text[end:])


STYLE = '''body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto;
padding: 1rem; color: #1b1f24 }
h1, h2, h3 { line-height: 1.2 }
h3 { margin: 1.6rem 0 .3rem; font: 600 1.05rem ui-monospace, monospace }
pre { background: #f3f5f7; padding: .6rem .8rem; overflow-x: auto; border-radius: 4px;
margin: .3rem 0 }
code, pre { font: .9rem/1.45 ui-monospace, monospace }
a { color: #0b5cad; text-decoration: none } a:hover { text-decoration: underline }
nav { columns: 14rem; font: .85rem/1.5 ui-monospace, monospace } nav a { display: block }
.where { color: #667; font-size: .85rem }
ul { margin: .2rem 0; padding-left: 1.2rem }
input { font: inherit; width: 100%; padding: .4rem; box-sizing: border-box }
@media (prefers-color-scheme: dark) { body { background: #14171a; color: #dde2e7 }
pre { background: #20252a } a { color: #6db3f2 } }'''

# Without JavaScript the field does nothing, and the page is whole all the same.
SCRIPT = '''document.getElementById('find').addEventListener('input', function () {
var word = this.value.toLowerCase();
document.querySelectorAll('nav a').forEach(function (a) {
a.hidden = a.textContent.toLowerCase().indexOf(word) < 0 }) })'''


def anchor(entry):
    return entry.name.split(',')[0]


def as_html(text, names):
    """Escaped, with the names of other entries as links."""
    return re.sub(r'\b(wf_\w+|WF_\w+)\b',
                  lambda m: '<a href="#%s">%s</a>' % (m.group(), m.group()) if m.group() in names
                  else m.group(),
                  html.escape(text, quote=False))


def version_of(source):
    return re.search(r'#define WF_VERSION "(.*)"',
                     read(os.path.join(source, 'tensor/api.h'))).group(1)


def write_html(source, out):
    entries = everything(source)
    version = version_of(source)
    names = {anchor(e) for e in entries}
    page = ['<!doctype html>', '<html lang="en">',
            '<head><meta charset="utf-8"><title>Weft %s: reference</title>' % version,
            '<meta name="viewport" content="width=device-width"><style>%s</style></head>' % STYLE,
            '<body>',
            '<h1>Weft %s: reference</h1>' % version,
            '<p>Every public function, op, type and macro. Each op also says the common things:'
            ' an input that was never made'
            ' (NULL), belongs to another tape, or was made before a reset is refused by name. An'
            ' … in an error stands for'
            ' what the message names.</p>',
            '<p><label>find a name <input id="find"></label></p>']
    headers = list(dict.fromkeys(e.header for e in entries))
    page.append('<nav>' + ''.join('<a href="#%s">%s</a>' % (anchor(e), html.escape(anchor(e)))
                                  for e in sorted(entries,
                                                  key=lambda e: anchor(e).lower())) + '</nav>')
    for header in headers:
        page.append('<h2>%s</h2>' % header)
        about = re.match(r'/\*(.*?)\*/', read(os.path.join(source, header)), re.S)
        if about:
            page.append('<p>%s</p>' % as_html(plain(about.group()), names))
        for e in (e for e in entries if e.header == header):
            page.append('<h3 id="%s" class="%s">%s</h3>' % (anchor(e), e.kind, html.escape(e.name)))
            page.append('<pre>%s</pre>' % as_html(e.code, names - {anchor(e)}))
            page += ['<p>%s</p>' % as_html(p, names - {anchor(e)}) for p in e.doc.split('\n\n')
                     if p]
            if e.derivative:
                page.append('<p>Gradients, g being that of the result y: <code>%s</code>.</p>' %
                            html.escape('; '.join(e.derivative)))
            if e.errors:
                page.append('<p>Errors:</p><ul>%s</ul>' %
                            ''.join('<li><code>%s</code></li>' % html.escape(shown(s))
                                    for s in e.errors))
    page += ['<script>%s</script>' % SCRIPT, '</body>', '</html>', '']
    with open(out, 'w', encoding='utf-8') as file:
        file.write('\n'.join(page))


def roff(text):
    text = text.replace('\\', '\\e').replace('-', '\\-').replace("'", '\\(aq')
    return re.sub(r'^([.\'])', r'\\&\1', text, flags=re.M)


def first_sentence(text):
    """Up to a stop that stands in no parenthesis and is no abbreviation's."""
    text = text.replace('\n', ' ')
    for stop in re.finditer(r'[.:;](?=\s|$)', text):
        before = text[:stop.start()]
        closed = len(re.findall(r'[(\[]', before)) == len(re.findall(r'[)\]]', before))
        if closed and not re.search(r'\b(al|e\.g|i\.e|cf|vs)$', before):
            return before
    return text.rstrip('.:;')


def names_of(entry):
    return entry.name.split(', ')


def man_synopsis(entry, together, types):
    """The prototypes, and the plain options that they take."""
    outside = entry.header in ('autograd/tile.h', 'autograd/pointwise.h')
    page = ['.SH SYNOPSIS', '.nf',
            '#include %s' % ('"%s"' % entry.header if outside else '<weft.h>'), '']
    page += [roff(o.code) for o in together]
    for name in types:
        if re.search('_(options|call)$', name):
            page += ['', roff(types[name].code)]
    return page + ['.fi']


def man_page(entry, version, kept):
    callable_kinds = ('function', 'op')
    alike = callable_kinds if entry.kind in callable_kinds else (entry.kind,)
    together = list({o.name: kept[o.name] for o in entry.group if o.kind in alike}.values())
    taken = re.findall(r'\bwf_\w+', ' '.join(o.code for o in together))
    types = {n: kept[n] for n in taken if entry.kind in callable_kinds and n in kept and
             kept[n].kind == 'type' and ('{' in kept[n].code or n.endswith('_options'))}
    brief = first_sentence(entry.doc) or 'a %s of %s' % (entry.kind, entry.header)
    names = ', '.join(n for o in together for n in names_of(o))
    page = ['.TH %s 3 "" "Weft %s" "Weft"' % (names_of(entry)[0], version), '.SH NAME',
            roff('%s - %s' % (names, brief))]
    page += man_synopsis(entry, together, types)
    if entry.doc:
        page += ['.SH DESCRIPTION'] + ['.PP\n' + roff(p) for p in entry.doc.split('\n\n')]
    if entry.derivative:
        page += ['.SH GRADIENTS', 'With g, the gradient of the result y:', '.PP']
        page += [roff('; '.join(entry.derivative)) + '.']
    if entry.errors:
        page += ['.SH ERRORS',
                 'Each is one sentence, kept by the tape, the module or the error that was given.']
        page += ['.IP \\(bu 2\n' + roff(shown(s)) for s in entry.errors]
    pages = ''.join('%s(3), ' % name for name in types)
    return page + ['.SH SEE ALSO', roff('%s%s, among the headers of Weft' % (pages, entry.header)),
                   '']


def write_man(source, out):
    entries = everything(source)
    version = version_of(source)
    kept = {e.name: e for e in entries}
    os.makedirs(out, exist_ok=True)
    for e in entries:
        for name in names_of(e):
            with open(os.path.join(out, name + '.3'), 'w', encoding='utf-8') as file:
                file.write('\n'.join(man_page(e, version, kept)))


def main():
    if len(sys.argv) != 4 or sys.argv[2] not in ('ops', 'html', 'man'):
        sys.exit(__doc__)
    {'ops': write_ops, 'html': write_html, 'man': write_man}[sys.argv[2]](sys.argv[1], sys.argv[3])


if __name__ == '__main__':
    main()
