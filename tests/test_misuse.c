/* Misuse of every public function, as the compiler lists them. What makes a var on a tape, or
 * anything else of values alone, is called with all values of its types in all combinations, the
 * others with NULL for each pointer: each call is taken, or refused in one sentence that changes
 * nothing. What they say, and that they say nothing, is held against tests/sentences.txt, word for
 * word; of a new function, which stands there nowhere, what no other says is reported as not
 * reviewed. */
#include "tests/misuse_values.inc"

typedef struct public_function {
    const char *name;
    void (*call)(const void *const a[], void *result);
    const char *result;
    int n;
    const char *type[20];
} public_function;

#include "public.inc"

enum { FUNCTIONS = (int)(sizeof functions / sizeof functions[0]), MOST = 20, LINES = 128 };
enum { TRIED = 40000, SWEPT = 300, TEXT = 1400 }; /* calls, sweeps and letters at most */

/* ---- a call, and what came of it ---- */

typedef struct call {
    const public_function *function;
    struct value_list of[MOST];
    int at[MOST];
    union {
        any any;
        void *pointer;
        wf_var *var;
        bool yes;
        size_t bytes;
        float single;
        wf_report report;
        char room[1 << 12];
    } result;
} call;

static const value not_there = { "NULL", { NULL } };
static const value nothing = { "0", { .bits = 0 } };

static bool points(const char *type)
{
    size_t n = strlen(type);
    return type[n - 1] == '*' || strchr(type, '(');
}

/* Are two types the same but for const? */
static bool same_type(const char *a, const char *b)
{
    for (;;) {
        a += strspn(a, " "), b += strspn(b, " ");
        if (!strncmp(a, "const", 5))
            a += 5;
        else if (*a != *b)
            return false;
        else if (!*a)
            return true;
        else
            a++, b++;
    }
}

static const struct value_list *values_for(const char *type)
{
    for (int i = 0; i < made.n; i++)
        if (!strcmp(made.list[i].type, type)) return &made.list[i];
    for (int i = 0; i < made.n; i++)
        if (same_type(type, made.list[i].type)) return &made.list[i];
    return NULL;
}

/* A new step and new values, at the same places of their lists; pointers may be NULL too. */
static void renew(call *c)
{
    misuse_renew();
    make_values();
    for (int i = 0; i < c->function->n; i++) {
        const char *type = c->function->type[i];
        const struct value_list *list = values_for(type);
        c->of[i].n = 0;
        if (list) c->of[i] = *list;
        if (!list && !points(type)) c->of[i].at[c->of[i].n++] = nothing;
        if (points(type)) c->of[i].at[c->of[i].n++] = not_there;
    }
}

static const value *given(const call *c, int i)
{
    return &c->of[i].at[c->at[i]];
}

static void run(call *c)
{
    const void *a[MOST];
    static const char zeros[1024];
    for (int i = 0; i < c->function->n; i++)
        a[i] = given(c, i) == &nothing ? (const void *)zeros : &given(c, i)->is;
    memset(&c->result, 0, 128);
    c->function->call(a, &c->result);
}

/* The call as a program would write it. */
static const char *spelled(const call *c)
{
    static char text[TEXT];
    int n = snprintf(text, sizeof text, "(");
    for (int i = 0; i < c->function->n; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%s", i ? ", " : "", given(c, i)->name);
    snprintf(text + n, sizeof text - (size_t)n, ")");
    return text;
}

static bool stale(const char *text)
{
    return strstr(text, "stale") != NULL;
}

/* Would the use of a stale var end the program? */
static bool poisoned(const call *c)
{
    return HARNESS_ADDRESSES && stale(spelled(c));
}

/* ---- what a function says ---- */

static char line[LINES][TEXT], kind[LINES][TEXT];
static int lines;

/* The reasons to refuse a var, and the name of a value that has each of them. */
static const struct {
    const char *says, *of;
} door[] = { { "belongs to another tape", "foreign" },
             { "was never made (NULL)", "NULL" },
             { "was made before the tape was reset", "stale" } };

/* A sentence without its numbers, shapes, dtypes and reasons to refuse a var: what tells sentences
 * apart. An input's number stays. */
static void kind_of(const char *text, char *out)
{
    int depth = 0;
    for (const char *c = text; *c; c++) {
        bool word = c > text && isalpha((unsigned char)c[-1]);
        bool input = c - text >= 6 && !strncmp(c - 6, "input ", 6);
        size_t n = 0;
        for (int i = 0; i < 3; i++)
            if (!strncmp(c, door[i].says, strlen(door[i].says))) n = strlen(door[i].says);
        if (!word && strchr("fi", *c) && isdigit((unsigned char)c[1])) n = 3;
        if (!word && !input && isdigit((unsigned char)*c)) n = strspn(c, "0123456789.e+");
        if (*c == '\'' && c > text && c[-1] == ' ' && strchr(c + 1, '\''))
            n = (size_t)(strchr(c + 1, '\'') - c) + 1; /* a name */
        if (!word && (!strncmp(c, "nan", 3) || !strncmp(c, "inf", 3))) n = 3;
        depth += n == 0 && *c == '(';
        if (n > 0)
            c += n - 1;
        else if (depth == 0 && *c != '-')
            *out++ = *c;
        depth -= n == 0 && *c == ')' && depth > 0;
    }
    *out = '\0';
}

static void forget(int i)
{
    lines--;
    memmove(line[i], line[i + 1], (size_t)(lines - i) * sizeof *line);
    memmove(kind[i], kind[i + 1], (size_t)(lines - i) * sizeof *kind);
}

/* The call and its answer, if nothing of its kind was there before; where no stale var may be used
 * another call stands for the kind, and so it does everywhere. In the sentence, the name of the
 * function itself is *, so that those which say the same stand together. */
static void note(const call *c, const char *answer)
{
    char text[TEXT], whole[TEXT + 1];
    const char *name = c->function->name + 3;
    size_t n = strlen(name);
    kind_of(answer, text);
    for (int i = 0; i < lines; i++) {
        if (strcmp(kind[i], text) != 0) continue;
        if (!stale(line[i]) || stale(spelled(c))) return;
        forget(i--);
    }
    HOLDS(lines < LINES, "%s says more than can be listed", c->function->name);
    snprintf(kind[lines], TEXT, "%s", text);
    bool itself = !strncmp(answer, name, n) && !isalnum((unsigned char)answer[n]) &&
                  answer[n] != '_';
    snprintf(whole, sizeof whole, "%s%s", itself ? "*" : "", answer + (itself ? n : 0));
    for (char *at = whole; (at = strchr(at, '\n'));) { /* one line for each */
        memmove(at + 2, at + 1, strlen(at));
        memcpy(at, "\\n", 2);
    }
    wf_format(line[lines++], TEXT, "%s %s", spelled(c), whole);
}

/* As a sentence must be; what begins with the caller's own word is the caller's, and what wf_refuse
 * writes is put behind the op's name. */
static void is_well_said(const call *c, const char *text)
{
    bool own = !strcmp(c->function->name, "wf_refuse");
    for (int i = 0; i < c->function->n; i++) {
        const char *word = given(c, i)->is.pointer;
        if (word && !strcmp(c->function->type[i], "const char *"))
            own |= !strncmp(text, word, strlen(word));
    }
    HOLDS(own || misuse_well_said(text), "%s%s: badly said: %s", c->function->name, spelled(c),
          text);
}

/* ---- what makes a var on a tape: everything in every combination ---- */

static wf_var *var_given(const call *c, int k)
{
    for (int i = 0; i < c->function->n; i++)
        if (!strcmp(c->function->type[i], "wf_var *") && k-- == 0)
            return (wf_var *)(uintptr_t)given(c, i)->is.pointer;
    return NULL;
}

/* A sweep from it, of first and of second order, is a sweep or a sentence. */
static void sweep_from(const call *c, wf_var *y)
{
    wf_tape *t = now.t;
    wf_var *wrt[5] = { now.matrix, now.deep, now.window, now.empty }, *grad[5];
    wf_var *loss = wf_sum(t, y, NULL);
    HOLDS(loss != NULL, "%s%s: %s", c->function->name, spelled(c), wf_tape_error(t));
    wrt[4] = var_given(c, 0) ? var_given(c, 0) : now.matrix;
    if (wf_grad(t, 1, &loss, NULL, 5, wrt, grad, NULL)) {
        for (int i = 0; i < 5; i++) {
            wf_shape a = wf_shape_of(wrt[i]), b = wf_shape_of(grad[i]);
            HOLDS(wf_shape_equal(&a, &b), "a gradient of another shape");
        }
        bool twice = wf_grad(t, 1, &loss, NULL, 5, wrt, grad, &with_graph);
        HOLDS(twice == wf_tape_ok(t), "%s%s", c->function->name, spelled(c));
    }
    if (!wf_tape_ok(t)) is_well_said(c, wf_tape_error(t));
}

/* On no tape, and on one that failed before, nothing is done or said. */
static void quiet_elsewhere(call *c)
{
    const void *t = now.t;
    ck_assert_ptr_eq(given(c, 0)->is.pointer, t);
    c->of[0].at[0].is.pointer = NULL;
    run(c);
    HOLDS(!c->result.var && log_kept.times == now.messages, "%s%s on no tape: %s",
          c->function->name, spelled(c), log_kept.text);
    c->of[0].at[0].is.pointer = t;
    wf_fail(now.t, "test: failed on purpose");
    int64_t bytes = wf_tape_bytes(now.t), nodes = wf_tape_nodes(now.t);
    run(c);
    HOLDS(!c->result.var && log_kept.times == now.messages + 1, "%s%s after a failure: %s",
          c->function->name, spelled(c), log_kept.text);
    ck_assert_str_eq(wf_tape_error(now.t), "test: failed on purpose");
    ck_assert(wf_tape_bytes(now.t) == bytes && wf_tape_nodes(now.t) == nodes);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), of = strlen(end);
    return n >= of && !strcmp(text + n - of, end);
}

/* What lies where these leave a second result is not read. */
static bool is_left_to(const call *c)
{
    const bool leaves = !strcmp(c->function->name, "wf_top_k") ||
                        !strcmp(c->function->name, "wf_sort");
    return leaves && strstr(spelled(c), "{ foreign }");
}

/* A var that may not come in is refused, and for its own reason. */
static void at_the_door(const call *c, const char *text)
{
    for (int i = 0; i < 3; i++) {
        bool is = strstr(spelled(c), door[i].of) != NULL;
        HOLDS(is || !ends_with(text, door[i].says), "%s%s: %s", c->function->name, spelled(c),
              text);
        HOLDS(!is || *text || !strcmp(door[i].of, "NULL") || is_left_to(c), "%s%s was not refused",
              c->function->name, spelled(c));
    }
}

/* One of the combinations: a var, or one sentence, said once. */
static void combination(call *c, int64_t number, int *sweeps)
{
    const char *name = c->function->name;
    renew(c);
    for (int i = c->function->n - 1; i > 0; number /= c->of[i--].n)
        c->at[i] = (int)(number % c->of[i].n);
    if (poisoned(c)) return;
    run(c);
    wf_var *y = c->result.var;
    char text[TEXT];
    snprintf(text, sizeof text, "%s", wf_tape_error(now.t));
    HOLDS((y != NULL) == wf_tape_ok(now.t), "%s%s: %s", name, spelled(c), text);
    at_the_door(c, text);
    if (y) {
        HOLDS(log_kept.times == now.messages, "%s%s: %s", name, spelled(c), log_kept.text);
        if (wf_dtype_of(y) != WF_I32 && (*sweeps)++ < SWEPT) sweep_from(c, y);
        return;
    }
    is_well_said(c, text);
    HOLDS(log_kept.times == now.messages + 1 && !strcmp(log_kept.text, text), "%s%s: logged %s",
          name, spelled(c), log_kept.text);
    HOLDS(!wf_zeros(now.t, WF_F64, WF_SCALAR) && !wf_backward(now.t, now.scalar) &&
              log_kept.times == now.messages + 1,
          "%s%s: it failed and went on", name, spelled(c));
    note(c, text);
}

static void in_every_combination(call *c)
{
    int64_t count = 1;
    int sweeps = 0;
    for (int i = 1; i < c->function->n; i++) count *= c->of[i].n;
    int64_t step = count / TRIED | 1; /* odd: it meets values of all lists */
    for (int64_t k = 0; k < count; k += step) {
        combination(c, k, &sweeps);
        if (k % 64) continue;
        renew(c);
        quiet_elsewhere(c);
    }
}

/* ---- anything else: NULL for each pointer ---- */

/* Values that are made are freed as their types are; what a tree, a tape or the caller owns is
 * not. */
static void free_result(call *c)
{
    static const struct {
        const char *type;
        void (*release)(void *made);
    } ways[] = {
#define BY(type, function) { #type " *", (void (*)(void *))(void (*)(void))(function) }
        BY(wf_tape, wf_tape_free),         BY(wf_carry, wf_carry_free),
        BY(wf_optim, wf_optim_free),       BY(wf_bundle, wf_bundle_free),
        BY(wf_corpus, wf_corpus_free),     BY(wf_vocab, wf_vocab_free),
        BY(wf_archive, wf_archive_free),   BY(wf_module, wf_module_free),
        BY(wf_parallel, wf_parallel_free), BY(wf_buckets, wf_buckets_free),
        BY(wf_bleu, wf_bleu_free),         BY(wf_chrf, wf_chrf_free),
        BY(wf_edits, wf_edits_free),       BY(wf_csv, wf_csv_free),
        BY(wf_scaler, wf_scaler_free),     BY(wf_windows, wf_windows_free),
        BY(wf_run, wf_run_free),           BY(wf_confusion, wf_confusion_free),
        BY(wf_spans, wf_spans_free),       BY(wf_conll, wf_conll_free),
        BY(wf_labelled, wf_labelled_free),
    };
    void *x = c->result.pointer;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        if (!strcmp(c->function->result, ways[i].type) && x != now.tree) ways[i].release(x);
    if (!strcmp(c->function->result, "char *") && x != made.memory) wf_release(x);
}

/* A result that is not none, as text: NULL, 0, false and nothing at all are none. */
static void result_text(const call *c, char *text, size_t bytes)
{
    const char *type = c->function->result;
    *text = '\0';
    if (!strcmp(type, "double") && c->result.any.number != 0)
        snprintf(text, bytes, "%g", c->result.any.number);
    else if (!strcmp(type, "const char *") && c->result.pointer)
        snprintf(text, bytes, "\"%s\"", (const char *)c->result.pointer);
    else if (!strcmp(type, "wf_report"))
        snprintf(text, bytes, "%s", c->result.report.ok ? "" : c->result.report.text);
    else if (points(type) && c->result.pointer)
        snprintf(text, bytes, "something");
    else if (!strcmp(type, "_Bool") && c->result.yes)
        snprintf(text, bytes, "true");
    else if (!points(type) && strcmp(type, "void") && strncmp(type, "wf_", 3) && c->result.any.i)
        snprintf(text, bytes, "%d", c->result.any.i);
}

/* The sentence that was said: tape, error, tree, bundle and log are all asked. */
static void said(char *text, size_t bytes)
{
    wf_error e = { "" }, of_bundle = { "" };
    wf_module_ok(now.tree, &e);
    wf_bundle_ok(made.bundle, &of_bundle);
    const char *const all[] = { wf_tape_error(now.t), now.error.text, e.text, of_bundle.text,
                                log_kept.times > now.messages ? log_kept.text : "" };
    *text = '\0';
    for (int i = 0; i < 5 && !*text; i++) snprintf(text, bytes, "%s", all[i]);
    for (int i = 0; i < 5; i++)
        HOLDS(!*all[i] || !strcmp(all[i], text), "two sentences: %s, %s", text, all[i]);
}

/* Does the function fill an error, and empty it first? (wf_refuse and wf_error_... only fill.) */
static bool fills_an_error(const public_function *f)
{
    bool fills = false;
    for (int i = 0; i < f->n; i++) fills |= !strcmp(f->type[i], "wf_error *");
    return fills && strncmp(f->name, "wf_error_", 9) && strcmp(f->name, "wf_refuse");
}

/* The call with what c->at names: what comes of it is nothing at all, or noted; where a tree or an
 * error could tell why nothing was made, it does. */
static void attempt(call *c)
{
    char text[TEXT], result[TEXT], answer[2 * TEXT];
    bool tells = false, fills = false;
    wf_bundle_free(made.bundle);
    made.bundle = wf_bundle_new();
    misuse_new_tree();
    renew(c);
    if (poisoned(c)) return;
    for (int i = 0; i < c->function->n; i++) {
        if (!given(c, i)->is.pointer) continue;
        fills |= !strcmp(c->function->type[i], "wf_error *");
        tells |= !strcmp(c->function->type[i], "wf_module *");
    }
    if (fills && fills_an_error(c->function)) misuse_older_failure();
    run(c);
    HOLDS(strcmp(now.error.text, "test: an older failure"), "%s%s leaves an older failure",
          c->function->name, spelled(c));
    said(text, sizeof text);
    if (*text) is_well_said(c, text);
    HOLDS(*text || c->result.pointer || !points(c->function->result) || !(fills || tells),
          "%s%s: nothing was made, and nobody was told", c->function->name, spelled(c));
    result_text(c, result, sizeof result);
    snprintf(answer, sizeof answer, "%s%s%s", result, *result && *text ? ", " : "", text);
    if (*text || (*answer && strstr(spelled(c), "NULL"))) note(c, answer);
    free_result(c);
    HOLDS(misuse_hash() == now.hash, "%s%s changed something", c->function->name, spelled(c));
}

/* The good values, but each set of pointers NULL in turn. */
static void with_every_null(call *c)
{
    int pointers = 0;
    for (int i = 0; i < c->function->n; i++) pointers += points(c->function->type[i]);
    for (unsigned which = 1; which < 1u << pointers; which++) {
        int pointer = 0;
        for (int i = 0; i < c->function->n; i++) {
            bool none = points(c->function->type[i]) && which >> pointer++ & 1;
            c->at[i] = none ? c->of[i].n - 1 : 0;
        }
        attempt(c);
    }
}

/* ---- what makes anything else out of values alone: these in every combination, too ---- */

/* Memory of the caller's, and how long it is, are none of its parameters. */
static bool makes(const call *c)
{
    bool text = false, number = false, pointer = false, memory = false;
    for (int i = 0; i < c->function->n; i++) {
        const char *type = c->function->type[i];
        text |= !strcmp(type, "const char *");
        number |= !strcmp(type, "int") || !strcmp(type, "int64_t");
        pointer |= points(type);
        memory |= c->of[i].at[0].is.pointer == made.memory || strstr(type, "**") ||
                  strstr(type, "*const *");
    }
    return pointer && !memory && !(text && number) && points(c->function->result);
}

static void made_in_every_combination(call *c)
{
    int64_t count = 1;
    for (int i = 0; i < c->function->n; i++) count *= c->of[i].n;
    for (int64_t k = 0; k < count; k++) {
        int64_t number = k;
        for (int i = c->function->n - 1; i >= 0; number /= c->of[i--].n)
            c->at[i] = (int)(number % c->of[i].n);
        attempt(c);
    }
}

/* ---- what was reviewed ---- */

/* A file of this folder. */
static const char *source(const char *name)
{
    static char text[1 << 17], path[1024];
    snprintf(path, sizeof path, "%s/tests/%s", WF_SOURCE_DIR, name);
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    HOLDS(n > 0 && n < sizeof text - 1, "%s cannot be read", path);
    fclose(file);
    text[n] = '\0';
    return text;
}

/* The lines that tests/sentences.txt has under a name; false if it does not name it. Under the
 * address sanitizer nothing is asked of a stale var. */
static bool reviewed(const char *file, const char *name, char *out)
{
    size_t n = strlen(name);
    bool here = false, found = false;
    for (const char *at = file; *at; at = strchr(at, '\n') + 1) {
        const char *end = strchr(at, '\n') + 1, *old = strstr(at, "stale");
        if (*at == ' ') {
            if (here && !(HARNESS_ADDRESSES && old && old < end))
                out += sprintf(out, "%.*s", (int)(end - at), at);
            continue;
        }
        here = false;
        for (const char *w = at; w < end; w += strcspn(w, " \n") + 1)
            here |= !strncmp(w, name, n) && strchr(" \n", w[n]);
        found |= here;
    }
    *out = '\0';
    return found;
}

static void hold_against_what_was_reviewed(const char *name)
{
    static char mine[LINES * TEXT], theirs[LINES * TEXT];
    const char *how = "WEFT_RECORD=rows test_misuse && tests/public.py sentences rows";
    FILE *rows = getenv("WEFT_RECORD") ? fopen(getenv("WEFT_RECORD"), "a") : NULL;
    char *at = mine;
    int others = 0; /* that nobody says */
    const char *file = rows ? "" : source("sentences.txt");
    for (int i = 0; i < lines; i++) {
        char *begin = at;
        at += sprintf(at, "    %s\n", line[i]);
        if (rows) fprintf(rows, "%s\t%s\n", name, line[i]);
        others += !strstr(file, begin);
    }
    *at = '\0';
    if (rows) {
        if (lines == 0) fprintf(rows, "%s\t\n", name);
        fclose(rows);
    } else if (reviewed(file, name, theirs)) {
        HOLDS(!strcmp(mine, theirs), "%s says\n%.2500sand tests/sentences.txt has\n%.2500s(%s)",
              name, mine, theirs, how);
    } else if (others) {
        harness_skip("%s says %d things that nobody has reviewed: %s", name, others, how);
    }
}

TEST(what_was_reviewed_is_of_functions_that_are_public)
{
    char name[128];
    for (const char *at = source("sentences.txt"); *at; at = strchr(at, '\n') + 1)
        for (const char *w = at; *at == 'w' && *w != '\n'; w += strcspn(w, " \n"), w += *w == ' ') {
            bool public = false;
            snprintf(name, sizeof name, "%.*s", (int)strcspn(w, " \n"), w);
            for (int i = 0; i < FUNCTIONS; i++) public |= !strcmp(functions[i].name, name);
            HOLDS(public, "%s is not public", name);
        }
}

TEST_EACH(what_a_public_function_cannot_take_it_takes_quietly_or_refuses_in_one_sentence, FUNCTIONS)
{
    static call c;
    memset(&c, 0, sizeof c);
    c.function = &functions[_i];
    lines = 0;
    made_up();
    renew(&c);
    int was = misuse_hush();
    if (!strcmp(c.function->result, "wf_var *") && !strcmp(c.function->type[0], "wf_tape *"))
        in_every_combination(&c);
    else if (makes(&c))
        made_in_every_combination(&c);
    else
        with_every_null(&c);
    misuse_speak(was);
    HOLDS(misuse_hash() == now.hash, "%s changed something", c.function->name);
    hold_against_what_was_reviewed(c.function->name);
    made_down();
}

/* ---- errors ---- */

/* Does the text say ERROR_CLEARED(name(...)), or ERROR_CLEARED(x = name(...))? */
static bool cleared(const char *text, const char *name)
{
    char begins[128];
    size_t n = (size_t)snprintf(begins, sizeof begins, "%s(", name);
    for (const char *c = text; (c = strstr(c, "ERROR_CLEARED("));) {
        c += strlen("ERROR_CLEARED(");
        c += strspn(c, " \n");
        size_t variable = strcspn(c, " (");
        if (!strncmp(c + variable, " = ", 3)) c += variable + 3;
        if (!strncmp(c, begins, n)) return true;
    }
    return false;
}

TEST(every_function_that_fills_an_error_is_seen_to_empty_it_first)
{
    static const char *const suites[] = { "test_misuse_tensor.c", "test_misuse_files.c",
                                          "test_misuse_data.c",   "test_misuse_layers.c",
                                          "test_misuse_optim.c",  "test_misuse_tables.c" };
    static bool seen[FUNCTIONS];
    int filling = 0;
    for (int s = 0; s < 6; s++) {
        const char *text = source(suites[s]);
        for (int i = 0; i < FUNCTIONS; i++) seen[i] |= cleared(text, functions[i].name);
    }
    for (int i = 0; i < FUNCTIONS; i++) {
        if (!fills_an_error(&functions[i])) continue;
        if (!strcmp(functions[i].name, "wf_runtime_set")) continue; /* before the suites begin */
        HOLDS(seen[i], "no suite says ERROR_CLEARED(%s(...))", functions[i].name);
        filling++;
    }
    ck_assert_int_gt(filling, 20);
}
