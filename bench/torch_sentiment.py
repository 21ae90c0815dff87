"""The twin of examples/sentiment.c in PyTorch: the same data, model, recipe and options."""
import argparse
import collections
import csv
import os
import random
import re
import signal
import sys
import time

import torch
from torch import nn

PAD, UNK = 0, 1


def arguments():
    a = argparse.ArgumentParser(description='Learns which class a sentence is of.')
    a.add_argument('--data', action='append', default=[], metavar='FILE',
                   help='UTF-8. Several times: a text of each class, a sentence a line; the class '
                   'is named as the file is. Once: CSV or TSV, a column of classes, one of '
                   'sentences')
    a.add_argument('--embedding', type=int, default=100, help='width of a word')
    a.add_argument('--hidden', type=int, default=64, help='units in each direction')
    a.add_argument('--batch', type=int, default=50, help='sentences in a step')
    a.add_argument('--min-count', type=int, default=2, help='rarer words are unknown')
    a.add_argument('--folds', type=int, default=10, help='parts, of which one is for the test')
    a.add_argument('--fold', type=int, default=0, help='which one')
    a.add_argument('--dropout', type=float, default=0.5, help='of features')
    a.add_argument('--word-dropout', type=float, default=0.5,
                   help='of words, but not of made ones')
    a.add_argument('--judge', action='store_true', help='tells the class of each line of stdin')
    a.add_argument('--epochs', type=int, default=5)
    a.add_argument('--lr', type=float, default=1e-3)
    a.add_argument('--clip', type=float, default=1.0)
    a.add_argument('--average', type=int, default=3, help='the mean weights of the N best epochs')
    a.add_argument('--patience', type=int, default=0,
                   help='ends after N epochs that brought nothing')
    a.add_argument('--seed', type=int, default=0)
    a.add_argument('--threads', type=int, default=0)
    a.add_argument('--save', metavar='FILE', help='where the model goes')
    a.add_argument('--every', type=int, default=0, help='saves after every N steps, too')
    a.add_argument('--load', metavar='FILE', help='goes on where a saved model stood')
    a.add_argument('--log', metavar='FILE', help='CSV of every step')
    return a.parse_args()


def separate(text):
    """Lower case, and spaces around signs that are not part of a word."""
    return re.sub(r"(?<![\w])(['\-/.,])|(['\-/.,])(?![\w])|([^\w\s'\-/.,])", r' \1\2\3 ',
                  text.lower())


def made_sentences(seed):
    """Each "not" turns the word at the end around."""
    draw = random.Random(seed)
    about = ['plot', 'film', 'cast', 'score', 'ending', 'script']
    words = ['dull', 'bad', 'flat', 'cold', 'weak', 'stale',
             'warm', 'good', 'fresh', 'bright', 'clear', 'strong']
    for _ in range(4000):
        nots, word = draw.randrange(3), draw.randrange(12)
        things = ' and the '.join(draw.choice(about) for _ in range(1 + draw.randrange(4)))
        line = f'the {things} is' + ' not' * nots + ' ' + words[word]
        yield ('bad' if (word < 6) ^ (nots % 2) else 'good'), line


def read(options):
    """(class, sentence) of each line."""
    if not options.data:
        return list(made_sentences(options.seed))
    items = []
    if len(options.data) > 1:
        for path in options.data:
            name = os.path.splitext(os.path.basename(path))[0]
            with open(path, encoding='utf-8') as f:
                items += [(name, line.strip()) for line in f if line.strip()]
    else:
        with open(options.data[0], encoding='utf-8', newline='') as f:
            dialect = csv.Sniffer().sniff(f.read(4096), delimiters='\t;,')
            f.seek(0)
            table = [row for row in csv.reader(f, dialect) if row]
        if any(len(row) < 2 for row in table):
            sys.exit('a class and a text are expected in each row')
        label = min((0, 1), key=lambda k: len({row[k] for row in table[:200]}))
        if sum(row[label] == table[0][label] for row in table) == 1:
            table = table[1:]
        items = [(row[label], row[1 - label]) for row in table]
    if len({label for label, _ in items}) < 2:
        sys.exit('all texts are of one class')
    return items


def split(labels, options):
    """Indices to train, to choose an epoch by, to test: each class is dealt to the folds."""
    if options.fold >= options.folds:
        sys.exit('--fold must be below --folds')
    order, dealt = list(range(len(labels))), collections.Counter()
    random.Random(options.seed).shuffle(order)
    train, valid, test = [], [], []
    for i in order:
        k = dealt[labels[i]]
        dealt[labels[i]] += 1
        if k % options.folds == options.fold:
            test.append(i)
        else:
            (valid if k // options.folds % 10 == 0 else train).append(i)
    return train, valid, test


class Model(nn.Module):
    def __init__(self, words, classes, options):
        super().__init__()
        self.words = nn.Embedding(words, options.embedding)
        nn.init.uniform_(self.words.weight, -0.1, 0.1)
        self.rnn = nn.LSTM(options.embedding, options.hidden, bidirectional=True)
        self.head = nn.Linear(4 * options.hidden + options.embedding, classes)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, ids, lengths):
        x = self.dropout(self.words(ids))
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        h, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0])
        there = (torch.arange(len(ids))[:, None] < lengths).unsqueeze(-1)
        most = h.masked_fill(~there, -torch.inf).amax(0)
        mean = h.sum(0) / lengths[:, None]
        words = (x * there).sum(0) / lengths[:, None]
        return self.head(self.dropout(torch.cat([most, mean, words], -1)))


@torch.no_grad()
def begin_words(model, ids, labels, train, classes):
    """Naive Bayes: how much more often a word is in each class than in others, as a logarithm."""
    count = torch.ones(len(model.words.weight), classes)
    for i in train:
        for word in ids[i]:
            count[word, labels[i]] += 1
    for k in range(min(classes, model.words.embedding_dim)):
        others, in_class = count.sum(1) - count[:, k], count[:, k].sum()
        ratio = (count[:, k] / in_class) / (others / others.sum())
        model.words.weight[2:, k] = 0.3 * ratio.log()[2:]


def batch_of(ids, which, unknown=0.0):
    lengths = torch.tensor([len(ids[i]) for i in which])
    padded = nn.utils.rnn.pad_sequence([torch.tensor(ids[i]) for i in which])
    if unknown:
        padded[torch.rand(padded.shape) < unknown] = UNK
    return padded, lengths


@torch.no_grad()
def judge(model, ids, labels, which):
    """The part that comes out right, and the mean loss."""
    model.eval()
    right = nats = 0.0
    for at in range(0, len(which), 256):
        part = which[at:at + 256]
        logits, target = model(*batch_of(ids, part)), torch.tensor([labels[i] for i in part])
        right += (logits.argmax(-1) == target).sum().item()
        nats += nn.functional.cross_entropy(logits, target, reduction='sum').item()
    model.train()
    return right / len(which), nats / len(which)


def main():
    options = arguments()
    stopped = []
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        signal.signal(number, lambda n, _: (stopped.append(n), signal.signal(n, signal.SIG_DFL)))
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    for path in options.data:
        if path in (options.save, options.log):
            sys.exit(f'{path} would replace what is read')
    saved = torch.load(options.load, weights_only=False) if options.load else None
    if saved:
        for name in 'embedding', 'hidden':
            setattr(options, name, saved['options'][name])
    names, vocabulary = (saved['names'], saved['words']) if saved else (None, None)
    items = read(options) if not (saved and options.judge) else []
    if items:
        names = names or sorted({label for label, _ in items})
        labels = [names.index(label) for label, _ in items]
        train, valid, test = split(labels, options)
        texts = [separate(text).split() for _, text in items]
        if not vocabulary:
            counts = collections.Counter(word for i in train for word in texts[i])
            words = [word for word, n in counts.most_common() if n >= options.min_count]
            vocabulary = {word: i + 2 for i, word in enumerate(words)}
        ids = [[vocabulary.get(word, UNK) for word in text] or [UNK] for text in texts]
    model = Model(len(vocabulary) + 2, len(names), options)
    if not saved:
        begin_words(model, ids, labels, train, len(names))
    adam = torch.optim.Adam(model.parameters(), lr=options.lr)
    step = epoch = position = since = 0
    best = []

    def used():
        if not best:
            return model.state_dict()
        return {key: sum(state[key] for _, state in best) / len(best) for key in best[0][1]}

    def save():
        torch.save({'options': vars(options), 'names': names, 'words': vocabulary, 'used': used(),
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
        print('step,epoch,loss,accuracy,valid,norm,rate,speed', file=log)
    begun = shown = time.time()
    first, counted = step, 0
    while items and epoch < options.epochs and not stopped:
        order = random.Random(options.seed * 1000003 + epoch)
        shuffled = order.sample(train, len(train))
        steps = (len(train) + options.batch - 1) // options.batch
        part = shuffled[position * options.batch:(position + 1) * options.batch]
        unknown = options.word_dropout if options.data else 0
        logits = model(*batch_of(ids, part, unknown))
        loss = nn.functional.cross_entropy(logits, torch.tensor([labels[i] for i in part]))
        if not torch.isfinite(loss):
            sys.exit('the loss is not finite')
        adam.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), options.clip or torch.inf)
        adam.step()
        step, position, counted = step + 1, position + 1, counted + len(part)
        accuracy = nats = None
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
            accuracy, nats = judge(model, ids, labels, valid)
            since = 0 if not best or nats < best[0][0] else since + 1
            state = {key: value.clone() for key, value in model.state_dict().items()}
            best = sorted(best + [(nats, state)], key=lambda b: b[0])[:max(1, options.average)]
            print(f'epoch {epoch}  accuracy {accuracy:.4f}  loss {nats:.4f}', file=sys.stderr)
        if log:
            judged = f'{accuracy:.6f},{nats:.6f}' if accuracy is not None else ','
            print(f'{step},{epoch + (position > 0)},{loss.item():.6f},{judged},{norm:.6g},'
                  f'{options.lr:g},{speed:.0f}', file=log, flush=True)
        if options.every and options.save and step % options.every == 0:
            save()
        if options.patience and since >= options.patience:
            break
    if options.save:
        save()
    if stopped:
        sys.exit(128 + stopped[0])
    model.load_state_dict(used())
    if items:
        accuracy, _ = judge(model, ids, labels, test)
        print(f'test: accuracy {accuracy:.4f} of {len(test)} sentences')
    if options.judge:
        model.eval()
        for line in sys.stdin:
            line = line.rstrip('\r\n')
            words = [vocabulary.get(word, UNK) for word in separate(line).split()] or [UNK]
            with torch.no_grad():
                p = model(*batch_of([words], [0])).softmax(-1)[0]
            print(f'{names[p.argmax()]}\t{p.max():.3f}\t{line}')


if __name__ == '__main__':
    main()
