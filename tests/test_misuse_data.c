/* Misuse of the data folder: corpora, vocabularies, parallel text, batches, metrics, texts and
 * UTF-8. */
#include "tests/misuse.h"

#include <limits.h>
#include <math.h>

#define LANES(t, b) ((wf_corpus_options){ .time = (t), .batch = (b) })

TEST(texts_that_make_no_corpus_are_refused)
{
    wf_error *e = &now.error;
    const wf_corpus_options o = LANES(2, 1);
    const wf_text part = { "part", "abcdef", INT64_MIN };
    ERROR_SAYS(wf_corpus_new(path_of("missing"), NULL, e), NULL);
    ERROR_SAYS(wf_corpus_from_memory("text", "abcdef", 6, &LANES(INT64_MAX, INT64_MAX), e), NULL);
    ERROR_SAYS(wf_corpus_from_memory("text", "abc", -1, &o, e),
               "corpus 'text': no bytes were given");
    ERROR_SAYS(wf_corpus_from_parts(&part, -1, &o, e),
               "corpus: -1 texts were given; it takes 1 or more");
    ERROR_SAYS(wf_corpus_from_parts(&part, 1, &o, e), "corpus 'part': no bytes were given");
    ERROR_SAYS(wf_corpus_from_alphabet("\xC0", e),
               "corpus: the alphabet is not UTF-8 at its byte 0");
}

TEST(nothing_is_read_beyond_a_corpus)
{
    wf_error *e = &now.error;
    int32_t ids[2] = { 77, 77 };
    wf_corpus *c, *letters;
    ERROR_CLEARED(letters = wf_corpus_from_alphabet("ab", e));
    const wf_text part = { .name = "part", .bytes = "abcabc", .n = 6 };
    const wf_corpus_options two = LANES(2, 1);
    ck_assert(wf_file_write(path_of("text"), "abcabc", 6, e));
    ERROR_CLEARED(c = wf_corpus_new(path_of("text"), &two, e));
    wf_corpus_free(c);
    ERROR_CLEARED(c = wf_corpus_from_files((const char *[]){ path_of("text") }, 1, &two, e));
    wf_corpus_free(c);
    ERROR_CLEARED(c = wf_corpus_from_parts(&part, 1, &two, e));
    wf_corpus_free(c);
    ERROR_CLEARED(c = wf_corpus_from_memory("text", "abcabc", 6, &two, e));
    ERROR_CLEARED(wf_corpus_encode(c, "a", 1, ids, 2, e) == 1 && ids[0] == 0);
    ids[0] = 77;
    QUIET(c && letters && !wf_corpus_next(letters).input);
    QUIET(!wf_corpus_reread(letters, 0) && !wf_corpus_reread(c, 0));
    QUIET(wf_corpus_next(c).restart && wf_corpus_position(c) == 2);
    QUIET(!wf_corpus_reread(c, -1) && !wf_corpus_reread(c, INT64_MAX));
    QUIET(!wf_corpus_seek(c, -1) && !wf_corpus_seek(c, 7) && !wf_corpus_seek(c, INT64_MAX));
    QUIET(wf_corpus_position(c) == 2);
    QUIET(wf_corpus_letter(c, INT64_MIN) == -1 && wf_corpus_id(c, INT32_MIN) == -1);
    ERROR_SAYS(wf_corpus_encode(c, "a", -1, ids, 2, e) + 1, "encode: no text was given");
    ERROR_SAYS(wf_corpus_encode(c, "a", 1, NULL, 2, e) + 1, NULL);
    ERROR_SAYS(wf_corpus_encode(c, "abz", 3, ids, 2, e) + 1,
               "encode: letter 2, 'z' (U+007A), is not in the alphabet");
    QUIET(ids[0] == 77 && wf_corpus_encode(c, "abz", 3, ids, 2, NULL) == -1 && ids[0] == 77);
    QUIET(wf_corpus_encode(c, "cba", 3, ids, 1, NULL) == 3 && ids[0] == 2 && ids[1] == 77);
    QUIET(wf_corpus_encode(c, "cba", 3, NULL, 0, NULL) == 3 &&
          wf_corpus_encode(c, NULL, 0, NULL, -4, NULL) == 0);
    wf_corpus_free(c);
    wf_corpus_free(letters);
}

TEST(letters_that_are_none_are_none)
{
    int32_t letter = 77;
    int64_t bad = 77;
    QUIET(wf_utf8_decode("a", 0, &letter) == 0 && wf_utf8_decode("a", -1, &letter) == 0);
    QUIET(wf_utf8_decode("\xE2\x82", 2, &letter) == 0 && letter == 77);
    QUIET(wf_utf8_decode("a", 1, NULL) == 0);
    QUIET(wf_utf8_encode('a', NULL) == 0);
    QUIET(wf_utf8_count("a", -5, NULL) == 0);
    QUIET(wf_utf8_count(NULL, 5, &bad) == -1 && bad == 0);
    QUIET(wf_utf8_count("a\xFF", 2, NULL) == -1 && wf_utf8_count("a\xFF", 2, &bad) == -1 &&
          bad == 1);
}

TEST(texts_that_make_no_vocabulary_are_refused)
{
    wf_error *e = &now.error;
    const wf_text part = { "part", NULL, 3 }, good = { NULL, "a b", 3 };
    int32_t ids[2];
    ERROR_SAYS(wf_vocab_new(harness_folder(), NULL, e), NULL);
    ERROR_SAYS(wf_vocab_from_files((const char *[]){ "" }, 1, NULL, e),
               "vocab '': no path was given");
    ERROR_SAYS(wf_vocab_from_parts(&part, 1, NULL, e), "vocab 'part': no bytes were given");
    ERROR_SAYS(wf_vocab_from_parts(&(wf_text){ "part", "a\nb\xFF", 4 }, 1, NULL, e),
               "vocab 'part': byte 3 (line 2) is 0xFF, which is not UTF-8 there");
    ERROR_SAYS(wf_vocab_from_parts(&(wf_text){ NULL, "a\0b", 3 }, 1, NULL, e),
               "vocab '(memory)': byte 1 is zero: this is not text");
    ERROR_SAYS(wf_vocab_from_parts(&good, 1, &(wf_vocab_options){ .min_count = -1 }, e),
               "vocab: .min_count is -1; it must be 0 or more");
    ERROR_SAYS(wf_vocab_from_parts(&good, 1, &(wf_vocab_options){ .max_size = 3 }, e),
               "vocab: .max_size is 3; it must be 0, or 4 and more");
    ERROR_SAYS(wf_vocab_from_text("v", NULL, 3, e), "vocab 'v': no bytes were given");
    ERROR_SAYS(wf_vocab_from_text("v", "a", -1, e), "vocab 'v': no bytes were given");
    ERROR_SAYS(wf_vocab_load("", e), "vocab '': no path was given");
    QUIET(wf_vocab_id(NULL, "a", 1) == WF_UNK);
    wf_vocab *v;
    const char *const text = path_of("text"), *const words = path_of("words");
    ck_assert(wf_file_write(text, good.bytes, good.n, e));
    ERROR_CLEARED(v = wf_vocab_new(text, NULL, e));
    wf_vocab_free(v);
    ERROR_CLEARED(v = wf_vocab_from_files(&text, 1, NULL, e));
    ERROR_CLEARED(wf_vocab_save(v, words, e));
    wf_vocab_free(v);
    ERROR_CLEARED(v = wf_vocab_load(words, e));
    wf_vocab_free(v);
    ERROR_CLEARED(v = wf_vocab_from_parts(&good, 1, NULL, e));
    wf_vocab *again;
    ERROR_CLEARED(
        again = wf_vocab_from_text("v", wf_vocab_text(v), (int64_t)strlen(wf_vocab_text(v)), e));
    ERROR_CLEARED(wf_vocab_encode(again, "a", 1, ids, 0, e) == 1);
    wf_vocab_free(again);
    QUIET(wf_vocab_size(v) == 6 && !wf_vocab_word(v, INT64_MAX) && !wf_vocab_word(v, INT64_MIN));
    QUIET(wf_vocab_id(v, NULL, 1) == WF_UNK && wf_vocab_id(v, "a", -1) == WF_UNK);
    QUIET(wf_vocab_decode(v, NULL, 2, NULL, 0) == 0 && wf_vocab_decode(v, ids, -1, NULL, 0) == 0);
    ERROR_SAYS(wf_vocab_encode(v, "\xC0", 1, ids, 2, e) + 1,
               "encode: byte 0 is 0xC0, which is not UTF-8 there");
    ERROR_SAYS(wf_vocab_save(v, NULL, e), NULL);
    QUIET(wf_vocab_encode(v, NULL, 0, NULL, 0, NULL) == 0);
    wf_vocab_free(v);
}

TEST(texts_that_make_no_pairs_are_refused)
{
    wf_error *e = &now.error;
    const wf_text good = { NULL, "a b\n", 4 }, less = { "less", "a", -1 };
    wf_vocab *v;
    wf_parallel *p;
    wf_buckets *b;
    ERROR_CLEARED(v = wf_vocab_from_parts(&good, 1, NULL, e));
    ERROR_SAYS(wf_parallel_from_parts(NULL, &good, v, v, NULL, e),
               "parallel: no source text was given (NULL)");
    ERROR_SAYS(wf_parallel_from_parts(&good, NULL, v, v, NULL, e),
               "parallel: no target text was given (NULL)");
    ERROR_SAYS(wf_parallel_from_parts(&good, &less, v, v, NULL, e),
               "parallel 'less': no bytes were given");
    ERROR_SAYS(wf_parallel_from_parts(&good, &good, NULL, v, NULL, e),
               "parallel '(memory)' and '(memory)': no source vocabulary was given (NULL)");
    ERROR_SAYS(wf_parallel_from_parts(&good, &good, v, NULL, NULL, e),
               "parallel '(memory)' and '(memory)': no target vocabulary was given (NULL)");
    ERROR_SAYS(
        wf_parallel_from_parts(&good, &good, v, v, &(wf_parallel_options){ .max_length = -1 }, e),
        "parallel '(memory)' and '(memory)': .max_length is -1; it must be 0 or more");
    ERROR_SAYS(wf_parallel_new(path_of("missing"), NULL, v, v, NULL, e), NULL);
    ERROR_SAYS(wf_parallel_new(harness_folder(), "-", v, v, NULL, e), NULL);
    ck_assert(wf_file_write(path_of("text"), "a\n", 2, e));
    ERROR_CLEARED(p = wf_parallel_new(path_of("text"), path_of("text"), v, v, NULL, e));
    wf_parallel_free(p);
    ERROR_CLEARED(p = wf_parallel_from_parts(&good, &good, v, v, NULL, e));
    wf_vocab_free(v); /* it was only read */
    QUIET(!wf_parallel_ids(p, WF_SOURCE, -1).at && !wf_parallel_ids(p, WF_SOURCE, 1).at &&
          !wf_parallel_ids(p, (wf_side)2, 0).at && !wf_parallel_ids(p, (wf_side)-1, 0).at);
    QUIET(!wf_parallel_text(p, WF_TARGET, INT64_MIN).bytes && !wf_parallel_line(p, INT64_MAX));
    ERROR_SAYS(wf_buckets_new(NULL, NULL, e), "buckets: there is no parallel text (NULL)");
    ERROR_SAYS(wf_buckets_new(p, NULL, e),
               "buckets: neither .max_tokens nor .max_sentences was given");
    ERROR_CLEARED(b = wf_buckets_new(p, &(wf_buckets_options){ .max_sentences = 2 }, e));
    QUIET(!wf_buckets_seek(b, 0, 2) && !wf_buckets_seek(b, 0, -1) && wf_buckets_position(b) == 0);
    QUIET(!wf_buckets_next(NULL) && !wf_buckets_count(NULL) && !wf_parallel_hash(NULL));
    wf_buckets_free(b);
    wf_parallel_free(p);
}

TEST(metrics_that_make_no_sense_are_refused)
{
    wf_error *e = &now.error;
    ERROR_SAYS(wf_bleu_new(&(wf_bleu_options){ .tokenize = (wf_tokenize)3 }, e),
               "bleu: there is no .tokenize 3");
    ERROR_SAYS(wf_bleu_new(&(wf_bleu_options){ .smoothing = (wf_smoothing)-1 }, e),
               "bleu: there is no .smoothing -1");
    ERROR_SAYS(wf_bleu_new(&(wf_bleu_options){ .smoothing_value = -0.5 }, e),
               "bleu: .smoothing_value is -0.5; it must be 0 or more");
    ERROR_SAYS(wf_bleu_new(&(wf_bleu_options){ .smoothing_value = (double)NAN }, e),
               "bleu: .smoothing_value is nan; it must be 0 or more");
    ERROR_SAYS(wf_bleu_new(&(wf_bleu_options){ .smoothing_value = 0.5 }, e),
               "bleu: .smoothing_value is 0.5, but this .smoothing takes none");
    ERROR_SAYS(wf_bleu_new(&(wf_bleu_options){ .max_order = 9 }, e),
               "bleu: .max_order is 9; it must be 0 to 8");
    ERROR_SAYS(wf_chrf_new(&(wf_chrf_options){ .letter_order = -1 }, e),
               "chrf: .letter_order is -1; it must be 0 to 8");
    ERROR_SAYS(wf_chrf_new(&(wf_chrf_options){ .word_order = 9 }, e),
               "chrf: .word_order is 9; it must be 0 to 8");
    ERROR_SAYS(wf_chrf_new(&(wf_chrf_options){ .beta = -2 }, e),
               "chrf: .beta is -2; it must be 0 or more");
    ERROR_SAYS(wf_edits_new((wf_edit_unit)3, e), "edits: there is no unit 3");
}

TEST(sentences_that_are_none_are_not_added)
{
    wf_error *e = &now.error;
    const wf_text good = { NULL, "a b", 3 }, less = { NULL, "a", -1 };
    const wf_ids ids = { NULL, 2 };
    wf_bleu *b;
    wf_chrf *c;
    wf_edits *d;
    ERROR_CLEARED(b = wf_bleu_new(NULL, e));
    ERROR_CLEARED(c = wf_chrf_new(NULL, e));
    ERROR_CLEARED(d = wf_edits_new(WF_EDIT_WORDS, e));
    ERROR_SAYS(wf_bleu_add(NULL, &good, &good, 1, e), "bleu: it was never made (NULL)");
    ERROR_SAYS(wf_bleu_add(b, &good, &good, 0, e),
               "bleu: 0 references were given; it takes 1 or more");
    ERROR_SAYS(wf_bleu_add(b, &good, NULL, 1, e),
               "bleu: 1 references were given; it takes 1 or more");
    ERROR_SAYS(wf_bleu_add(b, &good, (wf_text[]){ good, less }, 2, e),
               "bleu: reference (1): no bytes were given");
    ERROR_CLEARED(wf_bleu_add(b, &good, &good, 1, e));
    ERROR_SAYS(wf_chrf_add(NULL, &good, &good, 1, e), "chrf: it was never made (NULL)");
    ERROR_SAYS(wf_chrf_add(c, &good, &good, -1, e),
               "chrf: -1 references were given; it takes 1 or more");
    ERROR_SAYS(wf_chrf_add(c, &less, &good, 1, e), "chrf: hypothesis: no bytes were given");
    ERROR_CLEARED(wf_chrf_add(c, &good, &good, 1, e));
    ERROR_SAYS(wf_edits_add(NULL, &good, &good, e), "edits: it was never made (NULL)");
    ERROR_SAYS(wf_edits_add(d, &good, NULL, e), "edits: reference: no bytes were given");
    ERROR_SAYS(wf_edits_add_ids(NULL, ids, ids, e), "edits: it was never made (NULL)");
    ERROR_SAYS(wf_edits_add_ids(d, (wf_ids){ NULL, 0 }, ids, e),
               "edits: the reference has 2 ids that were not given");
    ERROR_SAYS(wf_edits_add_ids(d, (wf_ids){ NULL, -1 }, ids, e),
               "edits: the hypothesis has -1 ids that were not given");
    ERROR_CLEARED(wf_edits_add_ids(d, (wf_ids){ 0 }, (wf_ids){ 0 }, e));
    ERROR_CLEARED(wf_edits_add(d, &good, &good, e));
    QUIET(wf_bleu_result(b).sentences == 1 && wf_edits_count(d).sentences == 2);
    QUIET(wf_bleu_result(NULL).sentences == 0 && wf_chrf_result(NULL) == 0);
    wf_bleu_free(b);
    wf_chrf_free(c);
    wf_edits_free(d);
}

TEST(predictions_that_are_no_ids_are_refused)
{
    wf_error *e = &now.error;
    int32_t ids[6] = { 0 };
    const wf_tensor x = wf_tensor_of(WF_I32, WF_SHAPE(3, 2), ids);
    const wf_tensor none = wf_tensor_of(WF_I32, WF_SHAPE(3, 2), NULL);
    const wf_tensor f = wf_tensor_of(WF_F32, WF_SHAPE(3, 2), ids);
    wf_accuracy a = { 0 };
    ERROR_SAYS(wf_accuracy_add(NULL, &x, &x, NULL, e),
               "accuracy: there is nothing to add to (NULL)");
    ERROR_SAYS(wf_accuracy_add(&a, NULL, &x, NULL, e),
               "accuracy: the predictions must be i32 of shape (T, B) or (B)");
    ERROR_SAYS(wf_accuracy_add(&a, &x, &f, NULL, e),
               "accuracy: the targets must be i32 of shape (T, B) or (B)");
    ERROR_SAYS(wf_accuracy_add(&a, &x, &none, NULL, e),
               "accuracy: the targets must be i32 of shape (T, B) or (B)");
    ERROR_SAYS(wf_accuracy_add(&a, &x, &x, &x, e),
               "accuracy: the lengths must be i32 of shape (2)");
    ERROR_CLEARED(wf_accuracy_add(&a, &x, &x, NULL, e));
    QUIET(a.right == 6 && isnan(wf_accuracy_tokens(NULL)) && isnan(wf_perplexity_result(NULL)));
}

TEST(vocabularies_that_a_file_lacks_are_refused)
{
    wf_error *e = &now.error;
    const wf_text good = { NULL, "a b", 3 };
    wf_vocab *v, *again;
    wf_bundle *b = wf_bundle_new();
    wf_archive *file;
    ERROR_CLEARED(v = wf_vocab_from_parts(&good, 1, NULL, e));
    QUIET(wf_vocab_to_bundle(v, b, "vocab") && !wf_vocab_to_bundle(v, NULL, "vocab"));
    ERROR_CLEARED(wf_bundle_save(b, path_of("model"), e));
    ERROR_CLEARED(file = wf_safetensors_load(path_of("model"), e));
    ERROR_CLEARED(again = wf_vocab_from_archive(file, "vocab", e));
    ERROR_SAYS(wf_vocab_from_archive(file, "words", e),
               "vocab: the file's metadata have no 'words'");
    ERROR_SAYS(wf_vocab_from_archive(file, NULL, e), "vocab: no key was given (NULL)");
    ERROR_SAYS(wf_vocab_from_archive(NULL, "vocab", e), "vocab: no archive was given (NULL)");
    QUIET(!wf_vocab_to_bundle(v, b, "vocab"));
    ERROR_SAYS(wf_bundle_ok(b, e), NULL);
    wf_vocab_free(v);
    wf_vocab_free(again);
    wf_archive_free(file);
    wf_bundle_free(b);
}

TEST(words_and_texts_that_are_none_are_none)
{
    wf_error *e = &now.error;
    int64_t n = 5, at = 0, start = 0;
    ERROR_SAYS(wf_text_read(harness_folder(), 0, &n, e), NULL);
    char *text;
    QUIET(n == 0);
    ck_assert(wf_file_write(path_of("text"), "abc", 3, e));
    ERROR_CLEARED(text = wf_text_read(path_of("text"), 0, &n, e));
    wf_release(text);
    QUIET(wf_text_word("a", 1, NULL, &start) == 0 && wf_text_word("a", 1, &at, NULL) == 0);
    at = -1;
    QUIET(wf_text_word("a", 1, &at, &start) == 0);
    at = 9;
    QUIET(wf_text_word("a", 1, &at, &start) == 0 && wf_text_word("a", -1, &at, &start) == 0);
}

TEST(batches_that_cannot_be_padded_are_refused)
{
    wf_error *e = &now.error;
    const int32_t id[2] = { 1, 2 };
    const wf_ids good = { id, 2 }, less = { id, -1 }, none = { NULL, 2 };
    wf_padded p = { 0 };
    int64_t order[2] = { 5, 5 };
    ERROR_SAYS(wf_pad(&p, NULL, 2, NULL, e), "pad: 2 sequences were promised and not given");
    ERROR_SAYS(wf_pad(&p, &good, -1, NULL, e), "pad: -1 sequences were promised and not given");
    ERROR_SAYS(wf_pad(&p, &less, 1, NULL, e), "pad: sequence (0) has -1 ids that were not given");
    ERROR_SAYS(wf_pad(&p, &none, 1, NULL, e), "pad: sequence (0) has 2 ids that were not given");
    ERROR_SAYS(wf_pad(&p, &good, 1, &(wf_pad_options){ .time = -1 }, e),
               "pad: .time is -1; it must be 0 or more");
    ERROR_SAYS(wf_pad(&p, &good, 1, &(wf_pad_options){ .time = 1 }, e),
               "pad: sequence (0) has 2 ids; .time is 1\n  hint: .truncate cuts what is longer");
    ERROR_CLEARED(wf_pad(&p, &good, 1, NULL, e));
    wf_padded_free(&p);
    wf_permutation(2, 1, NULL);
    wf_permutation(0, 1, order);
    wf_permutation(-3, 1, order);
    QUIET(!p.memory && order[0] == 5 && order[1] == 5);
}

TEST(sound_that_is_none_is_refused)
{
    wf_error *e = &now.error;
    float x[400] = { 0 }, y[20] = { 7 };
    const wf_tensor samples = wf_tensor_of(WF_F32, WF_SHAPE(200), x),
                    features = wf_tensor_of(WF_F32, WF_SHAPE(1, 20), y);
    wf_spectrum *s;
    wf_wav *w;
    ERROR_SAYS(wf_wav_load(path_of("missing"), NULL, e), NULL);
    ERROR_SAYS(wf_wav_from_memory("x", "RIF", 3, NULL, e),
               "wav 'x': it is cut: 3 bytes are no header of a WAV file");
    ERROR_SAYS(wf_wav_from_memory("x", NULL, 3, NULL, e), "wav 'x': no bytes were given");
    ERROR_SAYS(wf_wav_save("", &samples, 8000, e), "wav '': no path was given");
    ERROR_SAYS(wf_wav_save(path_of("a.wav"), NULL, 8000, e), NULL);
    ERROR_CLEARED(wf_wav_save(path_of("a.wav"), &samples, 8000, e));
    ERROR_CLEARED(w = wf_wav_load(path_of("a.wav"), NULL, e));
    wf_wav_free(w);
    int64_t n;
    char *bytes = wf_file_read(path_of("a.wav"), 0, &n, NULL);
    ERROR_CLEARED(w = wf_wav_from_memory("a", bytes, n, NULL, e));
    wf_wav_free(w);
    wf_release(bytes);
    wf_wav_free(NULL);
    ERROR_SAYS(wf_spectrum_new(NULL, e), "spectrum: .rate is 0; it must be 1 to 2147483647");
    ERROR_CLEARED(s = wf_spectrum_new(&(wf_spectrum_options){ .rate = 8000, .mels = 20 }, e));
    ERROR_SAYS(wf_spectrum_compute(s, &samples, &samples, e),
               "spectrum: the features of these samples are f32 or f64 of (1, 20), not (200)");
    QUIET(y[0] == 7 && wf_spectrum_frames(s, INT64_MIN) == 0 && wf_spectrum_features(NULL) == 0);
    QUIET(!wf_spectrum_filters(NULL) && wf_spectrum_frames(NULL, 5) == 0);
    ERROR_CLEARED(wf_spectrum_compute(s, &samples, &features, e));
    wf_spectrum_free(s);
    wf_spectrum_free(NULL);
}

TEST(recordings_that_do_not_fit_are_refused)
{
    wf_error *e = &now.error;
    float x[400] = { 0 };
    int32_t whole[4] = { 0 };
    const wf_tensor samples = wf_tensor_of(WF_F32, WF_SHAPE(400), x),
                    ids = wf_tensor_of(WF_I32, WF_SHAPE(4), whole);
    wf_sound sound = { 0 };
    wf_features batch = { 0 };
    wf_spectrum *s = wf_spectrum_new(&(wf_spectrum_options){ .rate = 8000, .mels = 20 }, NULL);
    ERROR_SAYS(wf_sound_silence(NULL, 1, e), "sound: there is none to add to (NULL)");
    ERROR_SAYS(wf_sound_silence(&sound, -1, e), "sound: -1 samples of silence");
    ERROR_SAYS(wf_sound_silence(&sound, INT64_MAX, e),
               "sound: not enough memory for 9223372036854775807 bytes");
    ERROR_SAYS(wf_sound_append(NULL, &samples, 1, e), "sound: there is none to add to (NULL)");
    ERROR_SAYS(wf_sound_append(&sound, NULL, 1, e),
               "sound: samples are f32 or f64 of (time) or (time, 1)");
    ERROR_SAYS(wf_sound_append(&sound, &ids, 1, e),
               "sound: samples are f32 or f64 of (time) or (time, 1)");
    ERROR_SAYS(wf_sound_append(&sound, &samples, -1, e),
               "sound: a speed of -1; it must be 0.001 to 1000");
    ERROR_SAYS(wf_sound_append(&sound, &samples, (double)NAN, e),
               "sound: a speed of nan; it must be 0.001 to 1000");
    QUIET(!sound.memory && !batch.memory);
    ERROR_CLEARED(wf_sound_append(&sound, &samples, 0, e));
    ERROR_CLEARED(wf_sound_silence(&sound, 0, e));
    ERROR_SAYS(wf_features_compute(NULL, s, &samples, 1, e),
               "features: there is no batch to fill (NULL)");
    ERROR_SAYS(wf_features_compute(&batch, NULL, &samples, 1, e),
               "spectrum: it was never made (NULL)");
    ERROR_SAYS(wf_features_compute(&batch, s, &samples, -1, e),
               "features: -1 recordings were promised and not given");
    ERROR_SAYS(wf_features_compute(&batch, s, NULL, 2, e),
               "features: 2 recordings were promised and not given");
    ERROR_SAYS(wf_spec_augment(NULL, NULL, 1, e), "spec_augment: the batch was never filled");
    batch = (wf_features){ 0 };
    ERROR_SAYS(wf_spec_augment(&batch, NULL, 1, e), "spec_augment: the batch was never filled");
    ERROR_CLEARED(wf_features_compute(&batch, s, &samples, 1, e));
    ERROR_SAYS(wf_spec_augment(&batch, &(wf_spec_augment_options){ .band = 1.5 }, 1, e),
               "spec_augment: .band is 1.5; it must be 0 to 1");
    ERROR_SAYS(wf_spec_augment(&batch, &(wf_spec_augment_options){ .stretch = (double)NAN }, 1, e),
               "spec_augment: .stretch is nan; it must be 0 to 1");
    ERROR_SAYS(wf_spec_augment(&batch, &(wf_spec_augment_options){ .bands = -2 }, 1, e),
               "spec_augment: .bands is -2; it must be -1 to 1000");
    ERROR_SAYS(wf_spec_augment(&batch, &(wf_spec_augment_options){ .stretches = 1001 }, 1, e),
               "spec_augment: .stretches is 1001; it must be -1 to 1000");
    ERROR_CLEARED(wf_spec_augment(&batch, NULL, 1, e));
    wf_sound_free(NULL), wf_sound_clear(NULL), wf_features_free(NULL);
    wf_sound_free(&sound);
    wf_features_free(&batch);
    wf_spectrum_free(s);
}

TEST(figures_that_cannot_be_drawn_are_refused)
{
    wf_error *e = &now.error;
    float x[4] = { 0, 1, 2, 3 };
    const wf_tensor row = wf_tensor_of(WF_F32, WF_SHAPE(4), x),
                    square = wf_tensor_of(WF_F32, WF_SHAPE(2, 2), x);
    const wf_svg_line line = { .y = row };
    char *figure;
    ERROR_SAYS(wf_svg_curves(NULL, 1, NULL, e), "svg: 1 lines were promised and not given");
    ERROR_SAYS(wf_svg_bars(&square, NULL, NULL, e), "svg: values of bars are of (n)");
    ERROR_SAYS(wf_svg_heat(&row, NULL, NULL, NULL, e),
               "svg: values of a heat map are of (rows, columns)");
    ERROR_SAYS(wf_svg_save(path_of("a.svg"), NULL, e), "svg: no figure was given (NULL)");
    ERROR_CLEARED(figure = wf_svg_curves(&line, 1, NULL, e));
    ERROR_CLEARED(wf_svg_save(path_of("a.svg"), figure, e));
    wf_release(figure);
    ERROR_CLEARED(figure = wf_svg_bars(&row, NULL, NULL, e));
    wf_release(figure);
    ERROR_CLEARED(figure = wf_svg_heat(&square, NULL, NULL, NULL, e));
    wf_release(figure);
    QUIET(wf_colour((wf_colours)-1, (double)NAN) == 0xBBBBBB);
}

TEST(melodies_and_pictures_that_are_none_are_refused)
{
    wf_error *e = &now.error;
    float x[4] = { 0, 1, 2, 3 };
    const uint8_t pixels[4] = { 0 };
    const wf_tensor row = wf_tensor_of(WF_F32, WF_SHAPE(4), x),
                    square = wf_tensor_of(WF_F32, WF_SHAPE(2, 2), x);
    const wf_midi_note note = { 0, 480, 60, 64, 0, 0, 0 };
    const wf_midi *m;
    ERROR_SAYS(wf_midi_load(path_of("missing"), e), NULL);
    ERROR_SAYS(wf_midi_from_memory("x", "MTh", 3, e),
               "midi 'x': it is cut: 3 bytes are less than its header");
    ERROR_SAYS(wf_midi_save("", &(wf_midi){ .n = 1 }, e),
               "midi '': 1 notes and 0 tempos were promised and not given");
    ERROR_CLEARED(wf_midi_save(path_of("a.mid"), &(wf_midi){ .notes = &note, .n = 1 }, e));
    ERROR_CLEARED(m = wf_midi_load(path_of("a.mid"), e));
    wf_midi_free(m);
    int64_t n;
    char *bytes = wf_file_read(path_of("a.mid"), 0, &n, NULL);
    ERROR_CLEARED(m = wf_midi_from_memory("a", bytes, n, e));
    wf_midi_free(m);
    wf_midi_free(NULL);
    wf_release(bytes);
    ERROR_SAYS(wf_png_save("a", &row, NULL, e), "png 'a': the picture has shape (4); it must be "
                                                "(height, width) or (3, height, width)");
    ERROR_SAYS(wf_png_save_bytes("a", pixels, 2, 2, 2, e),
               "png 'a': pixels of 2 channels cannot be written; of 1 and 3 can");
    if (!wf_png_supported()) return;
    ERROR_CLEARED(wf_png_save(path_of("a.png"), &square, NULL, e));
    ERROR_CLEARED(wf_png_save_bytes(path_of("a.png"), pixels, 2, 2, 1, e));
}

TEST(texts_without_classes_are_refused)
{
    wf_error *e = &now.error;
    wf_labelled *l;
    ERROR_SAYS(wf_labelled_from_files(NULL, 1, NULL, e), "labelled: no files were given");
    ERROR_SAYS(wf_labelled_add(NULL, "a", "b", 1, e), "labelled: there is nothing to add to");
    ERROR_SAYS(wf_labelled_add_files(NULL, NULL, 1, e), "labelled: there is nothing to add to");
    ERROR_SAYS(wf_labelled_vocab(NULL, NULL, 1, NULL, e),
               "labelled: a vocabulary of 0 texts cannot be");
    wf_ids ids;
    ERROR_SAYS(wf_text_ids(NULL, "a", 1, &ids, e), "ids: there is no vocabulary of words");
    ERROR_SAYS(wf_text_ids(NULL, "a", 1, NULL, e), "ids: there is nowhere to put them");
    QUIET(wf_labelled_report(NULL, NULL, 0) == 0 && !wf_labelled_names(NULL));
    QUIET(!wf_labelled_known(NULL));
    wf_text_ids_free(NULL);
    wf_text_ids_free(&ids);
    ERROR_CLEARED(l = wf_labelled_new(NULL, e));
    ERROR_SAYS(wf_labelled_add(l, "", "b", 1, e), "labelled: text 0 has no class");
    ERROR_SAYS(wf_labelled_add(l, "a", NULL, 1, e), "labelled: text 0 has no bytes");
    ERROR_SAYS(wf_labelled_add(l, "a", "b", -1, e), "labelled: text 0 has no bytes");
    ERROR_SAYS(wf_labelled_add(l, "a", "b\xFF", 2, e),
               "labelled: text 0 is not UTF-8 at its byte 1");
    ERROR_CLEARED(wf_labelled_add(l, "a", "b", 1, e));
    QUIET(wf_labelled_count(l) == 1 && wf_labelled_class(l, 1) == -1 && !wf_labelled_name(l, 1) &&
          !wf_labelled_text(l, -1).bytes && wf_labelled_classes(NULL) == 0);
    ck_assert(wf_file_write(path_of("table.csv"), "x,a b\ny,c d\nx,e\n", 16, e));
    const char *const path = path_of("table.csv");
    wf_labelled *read;
    ERROR_CLEARED(read = wf_labelled_from_files(&path, 1, NULL, e));
    ERROR_CLEARED(wf_labelled_add_files(read, &path, 1, e));
    wf_vocab *vocab;
    ERROR_CLEARED(vocab = wf_labelled_vocab(read, NULL, 0, NULL, e));
    ERROR_CLEARED(wf_text_ids(vocab, "a b", 3, &ids, e));
    wf_text_ids_free(&ids);
    wf_vocab_free(vocab);
    wf_labelled_free(read);
    wf_labelled_free(l);
}
