"""The twin of examples/tagger.c in PyTorch: the same data, model, recipe and options."""
import argparse
import collections
import os
import random
import re
import signal
import sys
import time

import torch
from torch import nn

PAD, UNK = 0, 1
RULES = {
    'T': '%X was in the news .|They spoke of %Y and %Y .|Nobody knew %Y , but %X was known .'
         '|%X and %X were on the list of %D .|What %X was to %X , %Y is now .|%Q lives in %R .'
         '|%Q may come to %R in %D .|%Q worked for %O until %D .|On %D %O opened a shop in %R .'
         '|We march from %R to %R on %D .|%Q of %O met %Q in %R .'
         '|%p는 %l에서 살았다 .|%d %p는 %o에서 일했다 .|%l에서 온 %p가 말했다 .'
         '|%x에서 소식이 왔다 .|%x의 소식과 %x의 사진 .|%d에 %p와 %p가 만났다 .',
    'X': '%P|%L|%O', 'Y': '%X|%W', 'x': '%p|%l|%o', 'P': '%F|%F %N|%N|%N',
    'Q': '%F %N|%N|%B|%K|%F %K', 'L': '%C|%C|New %C', 'R': '%C|%B|%K', 'K': '%U%u|%U%u%u',
    'O': '%U%uex|%U%u%ucorp|%U%usoft|University of %C|%N Bank|%B Group',
    'D': '%M|%1 %M|%1 %M 19%1%1|%M 19%1%1|19%1%1|Monday|Sunday',
    'W': '%u%u%us|%u%uing|%u%u%uer|%u%uness|%u%uson',
    'F': 'Anna|Ben|Clara|Emil|Ida|Noah|May|April|March',
    'N': '%U%uson|%U%uer|%U%u%uez|%U%uini', 'C': '%U%uburg|%U%uton|%U%u%uville|%U%ustad',
    'B': 'Paris|Jordan|Austin|Florence|Lincoln|Chelsea', 'M': 'March|April|May|June|July|August',
    'U': 'Ba|Ke|Lo|Mi|Ru|Sa|Ne|Ti|Vo|Da|Gra|Pel|Win|Har|Mon|Ster|Bri|Fal|Quo|Zim',
    'u': 'ba|ke|lo|mi|ru|sa|ne|ti|vo|da|gra|pel|win|har|mon|ster|bri|fal|quo|zim',
    '1': '1|2|3|4|5|6|7|8|9', 'p': '김%h%h|이%h%h|박%h%h|최%h%h',
    'l': '%h%h시|%h%h군|%h%h읍|새 %h%h시', 'o': '%h%h은행|%h%h전자|%h%h대학교|%h%h 신문',
    'd': '%1월|%1월 %1일|199%1년 %1월', 'h': '민|수|지|영|현|우|서|준|진|도|하|윤|정|호|가|람'}
TYPES = dict(zip('PLODplodQR', ['PER', 'LOC', 'ORG', 'DATE'] * 2 + ['PER', 'LOC']))


def arguments():
    a = argparse.ArgumentParser(description='Learns which words of a text are names.')
    a.add_argument('--data', metavar='FILE',
                   help='UTF-8: a line is a word and its tag, of any scheme, among other columns; '
                   'an empty line ends a sentence')
    a.add_argument('--valid', metavar='FILE', help='says which epoch is best')
    a.add_argument('--test', metavar='FILE', help='is judged at the end')
    a.add_argument('--made', metavar='FILE', help='where made sentences are written, too')
    a.add_argument('--column', type=int, default=-1, help='of the tags, from 0; -1: the last')
    a.add_argument('--word-column', type=int, default=0, help='of the words')
    a.add_argument('--scheme', default='iobes', choices=['iob2', 'iob1', 'iobes'])
    a.add_argument('--embedding', type=int, default=100, help='width of a word')
    a.add_argument('--letters', type=int, default=25,
                   help="width of a letter, and units in each direction that read a word's")
    a.add_argument('--hidden', type=int, default=100, help='units in each direction')
    a.add_argument('--batch', type=int, default=20, help='sentences in a step')
    a.add_argument('--min-count', type=int, default=1, help='rarer words are unknown')
    a.add_argument('--dropout', type=float, default=0.5, help='of features')
    a.add_argument('--word-dropout', type=float, default=0.1, help='of words; letters stay')
    a.add_argument('--tag', metavar='FILE', help='is read at the end (-: standard input)')
    a.add_argument('--out', metavar='FILE', help='and written here with one more column')
    a.add_argument('--epochs', type=int, default=10)
    a.add_argument('--lr', type=float, default=2e-3)
    a.add_argument('--clip', type=float, default=5.0)
    a.add_argument('--patience', type=int, default=0,
                   help='ends after N epochs that brought nothing')
    a.add_argument('--seed', type=int, default=0)
    a.add_argument('--threads', type=int, default=0)
    a.add_argument('--save', metavar='FILE', help='where the model goes')
    a.add_argument('--every', type=int, default=0, help='saves after every N steps, too')
    a.add_argument('--load', metavar='FILE', help='goes on where a saved model stood')
    a.add_argument('--log', metavar='FILE', help='CSV of every step')
    return a.parse_args()


def make(symbol, draw):
    text = draw.choice(RULES[symbol].split('|'))
    text = re.sub('%(.)', lambda m: make(m[1], draw), text)
    return '{' + symbol + text + '}' if symbol in TYPES else text


def made_sentences(seed):
    draw, lines = random.Random(seed), []
    for _ in range(2000):
        tag = 'O'
        for word in make('T', draw).split():
            if word[0] == '{':
                tag, word = 'B-' + TYPES[word[1]], word[2:]
            lines.append(f'{word.replace("}", "")} {tag}\n')
            tag = 'O' if '}' in word or tag == 'O' else 'I' + tag[1:]
        lines.append('\n')
    return lines


def sentences_of(lines, name):
    """Lists of (line number, fields)."""
    found, now, columns = [], [], None
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if fields and fields[0] != '-DOCSTART-':
            if len(fields) != (columns := columns or len(fields)):
                sys.exit(f'{name}: line {number} has {len(fields)} columns')
            now.append((number - 1, fields))
        elif now:
            found.append(now)
            now = []
    found += [now] if now else []
    return found if found else sys.exit(f'{name}: there is no word')


def read_lines(path):
    try:
        if path == '-':
            return sys.stdin.read().splitlines(keepends=True)
        with open(path, encoding='utf-8', newline='') as f:
            return f.read().splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as e:
        sys.exit(f'{path}: {e}')


def spans_of(tags):
    """(first, last, type) of each span, by the rules of conlleval."""
    spans, first = [], None
    for i, tag in enumerate(tags + ['O']):
        before = tags[i - 1] if i else 'O'
        same = before != 'O' and before[2:] == tag[2:]
        begins = tag != 'O' and (tag[0] in 'BS' or before[0] in 'ES' or not same)
        if first is not None and (tag == 'O' or begins):
            spans.append((first, i - 1, before[2:]))
            first = None
        if begins:
            first = i
    return spans


def convert(tags, scheme, where):
    for tag in tags:
        if not re.fullmatch('O|[BIES](-.*)?', tag):
            sys.exit(f"{where}: '{tag}' is no tag")
    new, end = ['O'] * len(tags), (None, None)
    for first, last, kind in spans_of(tags):
        for i in range(first, last + 1):
            if scheme == 'iob1':
                letter = 'B' if i == first and end == (first - 1, kind) else 'I'
            elif scheme == 'iob2' or first != last:
                letter = 'B' if i == first else 'E' if i == last and scheme == 'iobes' else 'I'
            else:
                letter = 'S'
            new[i] = letter + ('-' + kind if kind else '')
        end = last, kind
    return new


def may_follow(scheme, a, b):
    """May tag b follow tag a? O is also what lies around a sentence."""
    same = a != 'O' and a[1:] == b[1:]
    if scheme == 'iob1':
        return b[0] != 'B' or same
    if scheme == 'iob2':
        return b[0] != 'I' or same
    return (a[0] in 'BI') == (b[0] in 'IE') and (a[0] not in 'BI' or same)


def report(found, truth):
    """What conlleval prints; and F1 and accuracy."""
    counts, right, words = collections.defaultdict(lambda: [0, 0, 0]), 0, 0
    for f, t in zip(found, truth):
        spans = set(spans_of(f)), set(spans_of(t))
        for k, some in enumerate((spans[0] & spans[1], *spans)):
            for span in some:
                counts[span[2]][k] += 1
        right, words = right + sum(a == b for a, b in zip(f, t)), words + len(t)

    def scores(good, said, there):
        p, r = good / said if said else 0, good / there if there else 0
        return p, r, 2 * p * r / (p + r) if p + r else 0

    total = [sum(c[k] for c in counts.values()) for k in range(3)]
    form = 'precision: {:6.2%}; recall: {:6.2%}; FB1: {:6.2f}'
    p, r, f1 = scores(*total)
    lines = [f'processed {words} tokens with {total[2]} phrases; found: {total[1]} phrases; '
             f'correct: {total[0]}.',
             f'accuracy: {right / max(words, 1):6.2%}; ' + form.format(p, r, 100 * f1)]
    for kind in sorted(counts):
        p, r, f = scores(*counts[kind])
        lines.append(f'{kind:>17}: ' + form.format(p, r, 100 * f) + f'  {counts[kind][1]}')
    return '\n'.join(lines), f1, right / max(words, 1)


class CRF(nn.Module):
    def __init__(self, tags, scheme):
        super().__init__()
        n = len(tags)
        self.start = nn.Parameter(torch.empty(n).uniform_(-0.1, 0.1))
        self.end = nn.Parameter(torch.empty(n).uniform_(-0.1, 0.1))
        self.between = nn.Parameter(torch.empty(n, n).uniform_(-0.1, 0.1))
        allowed = torch.tensor([[may_follow(scheme, a, b) for b in tags] for a in tags])
        self.register_buffer('no', ~allowed)
        self.register_buffer('no_start', ~allowed[tags.index('O')])
        self.register_buffer('no_end', ~allowed[:, tags.index('O')])

    def weights(self):
        never = -1e4
        return (self.start.masked_fill(self.no_start, never),
                self.end.masked_fill(self.no_end, never), self.between.masked_fill(self.no, never))

    def loss(self, scores, tags, there):
        """The mean over sentences of minus the log-likelihood; scores (T, B, tags)."""
        start, end, between = self.weights()
        rows = torch.arange(tags.shape[1])
        right = start[tags[0]] + scores[0, rows, tags[0]]
        total = start + scores[0]
        for t in range(1, len(scores)):
            step = between[tags[t - 1], tags[t]] + scores[t, rows, tags[t]]
            right = right + step * there[t]
            reached = torch.logsumexp(total[:, :, None] + between, 1) + scores[t]
            total = torch.where(there[t][:, None], reached, total)
        last = tags[there.sum(0) - 1, rows]
        return (torch.logsumexp(total + end, 1) - right - end[last]).mean()

    def decode(self, scores, there):
        start, end, between = self.weights()
        best, back = start + scores[0], []
        same = torch.arange(len(start)).expand_as(best)
        for t in range(1, len(scores)):
            value, come = (best[:, :, None] + between).max(1)
            best = torch.where(there[t][:, None], value + scores[t], best)
            back.append(torch.where(there[t][:, None], come, same))
        tag = (best + end).argmax(1)
        path = [tag]
        for come in reversed(back):
            tag = come.gather(1, tag[:, None])[:, 0]
            path.append(tag)
        return torch.stack(path[::-1])


class Model(nn.Module):
    def __init__(self, words, letters, tags, options):
        super().__init__()
        self.words = nn.Embedding(words, options.embedding)
        width = options.embedding + 2 * options.letters
        if options.letters:
            self.letters = nn.Embedding(letters, options.letters)
            self.speller = nn.LSTM(options.letters, options.letters, bidirectional=True)
        self.reader = nn.LSTM(width, options.hidden, bidirectional=True)
        self.head = nn.Linear(2 * options.hidden, len(tags))
        self.crf = CRF(tags, options.scheme)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, words, lengths, letters, spelled):
        """words (T, B); letters (L, words that are there) in the order of packed_words."""
        x = self.words(words)
        there = torch.arange(len(words))[:, None] < lengths
        if hasattr(self, 'letters'):
            packed = nn.utils.rnn.pack_padded_sequence(self.letters(letters), spelled,
                                                       enforce_sorted=False)
            h = self.speller(packed)[1][0]
            made = x.new_zeros(*x.shape[:2], 2 * h.shape[-1])
            made[there] = torch.cat([h[0], h[1]], -1)
            x = torch.cat([x, made], -1)
        packed = nn.utils.rnn.pack_padded_sequence(self.dropout(x), lengths, enforce_sorted=False)
        h, _ = nn.utils.rnn.pad_packed_sequence(self.reader(packed)[0])
        return self.head(self.dropout(h)), there


def batch_of(part, vocabulary, unknown=0.0):
    """What Model.forward takes, of sentences of words."""
    words, letters = vocabulary
    lengths = torch.tensor([len(s) for s in part])
    ids = nn.utils.rnn.pad_sequence([torch.tensor([words.get(w, UNK) for w in s]) for s in part])
    if unknown:
        ids[torch.rand(ids.shape) < unknown] = UNK
    in_order = [s[t] for t in range(len(ids)) for s in part if t < len(s)]
    spelled = [torch.tensor([letters.get(c, UNK) for c in w]) for w in in_order]
    return ids, lengths, nn.utils.rnn.pad_sequence(spelled), torch.tensor([len(s) for s in spelled])


@torch.no_grad()
def tags_of(model, sentences, vocabulary, tags):
    model.eval()
    found = []
    for at in range(0, len(sentences), 64):
        part = sentences[at:at + 64]
        best = model.crf.decode(*model(*batch_of(part, vocabulary))).tolist()
        found += [[tags[best[t][b]] for t in range(len(s))] for b, s in enumerate(part)]
    model.train()
    return found


def read(path, options, lines=None):
    """(words, tags) of each sentence, the tags in the scheme."""
    pairs = []
    for sentence in sentences_of(lines or read_lines(path), path):
        fields = [f for _, f in sentence]
        if not max(options.column, options.word_column) < len(fields[0]):
            sys.exit(f'{path}: there are {len(fields[0])} columns')
        tags = convert([f[options.column] for f in fields], options.scheme, path)
        pairs.append(([f[options.word_column] for f in fields], tags))
    return pairs


def parts_of(options):
    """Sentences to learn from, to choose an epoch by, to test."""
    lines = None if options.data else made_sentences(options.seed)
    if lines and options.made:
        with open(options.made, 'w', encoding='utf-8') as f:
            f.writelines(lines)
    learn = read(options.data, options, lines)
    random.Random(options.seed).shuffle(learn)
    parts = []
    for path in options.valid, options.test:
        tenth = len(learn) // 10
        parts.append(read(path, options) if path else learn[:tenth])
        learn = learn if path else learn[tenth:]
    return learn, *parts


def main():
    options = arguments()
    stopped = []
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda n, _: (stopped.append(n), signal.signal(n, signal.SIG_DFL)))
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    for path in options.data, options.valid, options.test, options.tag:
        if path and path in (options.save, options.log):
            sys.exit(f'{path} would replace what is read')
    saved = torch.load(options.load, weights_only=False) if options.load else None
    if saved:
        for name in 'embedding', 'letters', 'hidden', 'scheme', 'word_column':
            setattr(options, name, saved['options'][name])
    text = read_lines(options.tag) if options.tag else []
    to_tag = sentences_of(text, options.tag) if options.tag else []
    learn = valid = test = []
    if not saved or options.data or not (options.tag or options.test):
        learn, valid, test = parts_of(options)
    elif options.test:
        test = read(options.test, options)
    if saved:
        vocabulary, tags = saved['vocabulary'], saved['tags']
    else:
        counts = collections.Counter(word for words, _ in learn for word in words)
        words = [word for word, n in counts.most_common() if n >= options.min_count]
        letters = sorted({c for word in counts for c in word})
        vocabulary = tuple({name: i + 2 for i, name in enumerate(v)} for v in (words, letters))
        kinds = sorted({tag[1:] for _, tags in learn for tag in tags if tag != 'O'})
        begins = 'BIES' if options.scheme == 'iobes' else 'BI'
        tags = ['O'] + [letter + kind for kind in kinds for letter in begins]
    ids = {tag: i for i, tag in enumerate(tags)}
    for _, truth in learn + valid + test:
        for tag in truth:
            if tag not in ids:
                sys.exit(f"the tag '{tag}' is not known")
    model = Model(len(vocabulary[0]) + 2, len(vocabulary[1]) + 2, tags, options)
    adam = torch.optim.Adam(model.parameters(), lr=options.lr)
    step = epoch = position = since = 0
    best = None

    def save():
        torch.save({'options': vars(options), 'vocabulary': vocabulary, 'tags': tags,
                    'model': model.state_dict(), 'adam': adam.state_dict(), 'step': step,
                    'epoch': epoch, 'position': position, 'since': since, 'best': best,
                    'random': torch.get_rng_state()}, options.save + '.tmp')
        os.replace(options.save + '.tmp', options.save)

    if saved:
        model.load_state_dict(saved['model'])
        adam.load_state_dict(saved['adam'])
        step, epoch, position = saved['step'], saved['epoch'], saved['position']
        since, best = saved['since'], saved['best']
        torch.set_rng_state(saved['random'])
    log = open(options.log, 'a' if step else 'w', encoding='utf-8') if options.log else None
    if log and not step:
        print('step,epoch,loss,f1,accuracy,norm,rate,speed', file=log)
    begun = shown = time.time()
    first, counted = step, 0
    while learn and epoch < options.epochs and not stopped:
        order = random.Random(options.seed * 1000003 + epoch)
        shuffled = order.sample(learn, len(learn))
        steps = (len(learn) + options.batch - 1) // options.batch
        part = shuffled[position * options.batch:(position + 1) * options.batch]
        truth = nn.utils.rnn.pad_sequence([torch.tensor([ids[x] for x in t]) for _, t in part])
        scores, there = model(*batch_of([w for w, _ in part], vocabulary, options.word_dropout))
        loss = model.crf.loss(scores, truth, there)
        if not torch.isfinite(loss):
            sys.exit('the loss is not finite')
        adam.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), options.clip or torch.inf)
        adam.step()
        step, position, counted = step + 1, position + 1, counted + len(part)
        f1 = accuracy = None
        speed = counted / (time.time() - begun)
        if time.time() - shown > (0.1 if sys.stderr.isatty() else 5):
            shown = time.time()
            left = (steps * (options.epochs - epoch) - position) * (shown - begun) / (step - first)
            print(f'epoch {epoch + 1}/{options.epochs}  {position}/{steps}  '
                  f'loss {loss.item():.3f}  '
                  f'{speed:.0f} sentences/s  {left // 60:.0f}:{left % 60:02.0f} left',
                  end='\r' if sys.stderr.isatty() else '\n', file=sys.stderr)
        if position == steps:
            epoch, position = epoch + 1, 0
            found = tags_of(model, [w for w, _ in valid], vocabulary, tags)
            _, f1, accuracy = report(found, [t for _, t in valid])
            since = 0 if not best or f1 > best[0] else since + 1
            if since == 0:
                best = f1, {key: value.clone() for key, value in model.state_dict().items()}
            print(f'epoch {epoch}  f1 {f1:.4f}  accuracy {accuracy:.4f}', file=sys.stderr)
        if log:
            judged = f'{f1:.6f},{accuracy:.6f}' if f1 is not None else ','
            print(f'{step},{epoch + (position > 0)},{loss.item():.6f},{judged},{norm:.6g},'
                  f'{options.lr:g},{speed:.0f}', file=log, flush=True)
        if options.every and options.save and step % options.every == 0:
            save()
        if options.patience and since >= options.patience:
            break
    print(f'{step - first} steps in {time.time() - begun:.1f} s', file=sys.stderr)
    if options.save:
        save()
    if stopped:
        sys.exit(128 + stopped[0])
    if best:
        model.load_state_dict(best[1])
    if test:
        found = tags_of(model, [w for w, _ in test], vocabulary, tags)
        where = sys.stderr if options.tag and not options.out else sys.stdout
        print('test: ' + report(found, [t for _, t in test])[0], file=where)
    if to_tag:
        words = [[fields[options.word_column] for _, fields in s] for s in to_tag]
        for sentence, new in zip(to_tag, tags_of(model, words, vocabulary, tags)):
            for (number, _), tag in zip(sentence, new):
                body = text[number].rstrip()
                between = '\t' if '\t' in body else ' '
                text[number] = body + between + tag + text[number][len(body):]
        if options.out:
            with open(options.out, 'w', encoding='utf-8', newline='') as f:
                f.writelines(text)
        else:
            sys.stdout.writelines(text)


if __name__ == '__main__':
    main()
