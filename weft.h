/* The one header that a program includes. Not in it, for their short words: autograd/pointwise.h
 * (an op in one line) and tensor/each_float.h (kernels in every precision). */
#ifndef WEFT_H
#define WEFT_H

#include "tensor/api.h"
#include "tensor/erf.h"
#include "tensor/error.h"
#include "tensor/gemm.h"
#include "tensor/io.h"
#include "tensor/isa.h"
#include "tensor/log1p.h"
#include "tensor/par.h"
#include "tensor/rng.h"
#include "tensor/runtime.h"
#include "tensor/sequence.h"
#include "tensor/size.h"
#include "tensor/sum.h"
#include "tensor/tensor.h"
#include "tensor/text.h"
#include "tensor/vmath.h"
#include "tensor/walk.h"

#include "autograd/check.h"
#include "autograd/module.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/scan.h"
#include "autograd/tape.h"
#include "autograd/views.h"

#include "layers/attention.h"
#include "layers/basic.h"
#include "layers/cell.h"
#include "layers/crf.h"
#include "layers/ctc.h"
#include "layers/decoder.h"
#include "layers/generate.h"
#include "layers/losses.h"
#include "layers/multihead.h"
#include "layers/rnn.h"
#include "layers/seq2seq.h"
#include "layers/transformer.h"

#include "optim/optim.h"

#include "data/batch.h"
#include "data/bleu.h"
#include "data/chrf.h"
#include "data/corpus.h"
#include "data/edits.h"
#include "data/metrics.h"
#include "data/parallel.h"
#include "data/text.h"
#include "data/utf8.h"
#include "data/vocab.h"

#endif
