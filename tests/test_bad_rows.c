/* Rows that nobody can run, of cells and of update rules: each is told in one sentence, before
 * anything in it is used, by whoever is given it. (Rows of ops: test_check.c and
 * test_misuse_tape.c; the runtime: test_runtime.c.) */
#include "autograd/ops.h"
#include "layers/cell.h"
#include "layers/rnn.h"
#include "optim/optim.h"
#include "tensor/runtime.h"
#include "tests/fixture.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* ---- cells ---- */

typedef struct plain {
    wf_var *w_x, *w_h;
    double number;
} plain;

static void step(wf_tape *t, const void *self, wf_var *x, wf_var *state[])
{
    const plain *p = self;
    state[0] = wf_tanh(
        t, wf_add(t, wf_affine(t, x, p->w_x, NULL), wf_affine(t, state[0], p->w_h, NULL)));
}

static wf_cell_state states[3];
static wf_cell_param params[3];

static wf_cell sound(void)
{
    states[0] = (wf_cell_state)WF_STATE("h", WF_HIDDEN);
    params[0] = (wf_cell_param)WF_PARAM(plain, w_x, WF_HIDDEN, WF_INPUT);
    params[1] = (wf_cell_param)WF_PARAM(plain, w_h, WF_HIDDEN, WF_HIDDEN);
    memset(&states[1], 0, 2 * sizeof states[1]);
    memset(&params[2], 0, sizeof params[2]);
    return (wf_cell){
        .name = "plain", .size = sizeof(plain), .step = step, .states = states, .params = params
    };
}

/* A layer is refused with "rnn 'r': cell 'plain': " and the sentence, and the checker says so. */
static void refused(const wf_cell *cell, const char *sentence)
{
    wf_module *net = wf_module_new("net", NULL);
    ck_assert_ptr_null(
        wf_rnn_new(net, "r", cell, &(wf_rnn_options){ .input = 3, .hidden = 5, .layers = 2 }));
    assert_tree_fails(net, worded("rnn 'r': cell 'plain': %s", sentence));
    wf_report r = wf_cell_check(cell, NULL);
    ck_assert(!r.ok);
    ck_assert_str_eq(r.text, worded("cell 'plain': rnn 'rnn': cell 'plain': %s", sentence));
}

/* A layer is refused with the sentence somewhere in the message, and so does the checker. */
static void refused_inside(const wf_cell *cell, const char *sentence)
{
    wf_error error = { "" };
    wf_module *net = wf_module_new("net", NULL);
    ck_assert_ptr_null(wf_rnn_new(net, "r", cell, &(wf_rnn_options){ .input = 3, .hidden = 5 }));
    ck_assert(!wf_module_ok(net, &error));
    ck_assert_msg(strstr(error.text, sentence), "%s", error.text);
    wf_module_free(net);
    wf_report r = wf_cell_check(cell, NULL);
    ck_assert_msg(!r.ok && strstr(r.text, sentence), "%s", r.text);
}

TEST(the_cell_that_the_faults_are_planted_in_is_right)
{
    wf_cell cell = sound();
    assert_proved(wf_cell_check(&cell, NULL));
}

TEST(a_cell_whose_struct_no_parameter_fits_is_refused)
{
    wf_cell cell = sound();
    cell.size = SIZE_MAX;
    refused(&cell, "its struct has 18446744073709551615 bytes; 1 to 1048576 can be");
    cell.size = 4;
    refused(&cell, "w_x lies outside of its 4 bytes");
    cell.size = sizeof(plain) + 4;
    refused(&cell, "w_x lies at offset 0 of 28 bytes; a wf_var * lies at multiples of 8");
    cell = sound();
    params[1].offset = SIZE_MAX;
    refused(&cell, "w_h lies outside of its 24 bytes");
    params[1].offset = 3;
    refused(&cell, "w_h lies at offset 3 of 24 bytes; a wf_var * lies at multiples of 8");
    params[1].offset = 0;
    refused(&cell, "w_x and w_h lie in one field");
}

TEST(a_cell_whose_names_tell_nothing_apart_is_refused)
{
    wf_cell cell = sound();
    params[1].name = "w_x";
    refused(&cell, "two parameters are named w_x");
    params[1].name = "";
    refused(&cell, "a parameter has an empty name");
    params[1].name = "a.b";
    refused_inside(&cell, "a name without '.', spaces or control characters is needed");
    cell = sound();
    states[0].name = "";
    refused(&cell, "state 0 has an empty name");
    states[0].name = "h";
    states[1] = states[0];
    refused(&cell, "two states are named h");
}

TEST(a_cell_whose_sizes_are_none_is_refused)
{
    wf_cell cell = sound();
    params[0].size[1] = 0;
    params[0].size[2] = WF_INPUT;
    refused(&cell, "size[1] of w_x is 0 and size[2] is not; zero ends the list");
    cell = sound();
    params[1].optional = 7;
    refused(&cell, "w_h is optional in no way there is: 7");
    cell = sound();
    params[0].size[0] = -WF_HIDDEN;
    refused_inside(&cell, "cell 'plain': size[0] of w_x is -");
    params[0].size[0] = INT64_MAX;
    refused_inside(&cell, "cell 'plain': size[0] of w_x is ");
    params[0].size[0] = -7;
    refused_inside(&cell, "rnn: cell 'plain': size[0] of w_x is -7; it must be 1 or more");
    cell = sound();
    states[0].width = 0;
    refused_inside(&cell, "rnn: cell 'plain': the width of state h is 0; it must be 1 or more");
    states[0].width = INT64_MIN;
    refused_inside(&cell, "cell 'plain': the width of state h is ");
}

TEST(sizes_of_a_layer_that_overflow_are_refused)
{
    static const int64_t sizes[][3] = {
        { INT64_MAX, 5, 1 }, { 3, INT64_MAX, 1 }, { 3, INT64_MAX / 8, 1 }, { 3, 5, INT64_MAX }
    };
    wf_cell cell = sound();
    for (int i = 0; i < 4; i++) {
        wf_module *net = wf_module_new("net", NULL);
        wf_error error = { "" };
        ck_assert_ptr_null(wf_rnn_new(net, "r", &cell,
                                      &(wf_rnn_options){ .input = sizes[i][0],
                                                         .hidden = sizes[i][1],
                                                         .layers = sizes[i][2] }));
        ck_assert(!wf_module_ok(net, &error) && error.text[0]);
        wf_module_free(net);
    }
}

/* ---- update rules ---- */

static void update(const wf_optim_call *c)
{
    (void)c;
}

TEST(a_rule_that_cannot_be_run_is_refused_with_one_sentence)
{
    static const wf_optim_option outside[] = { { .name = "x", .offset = 8 }, { .name = NULL } };
    static const wf_optim_option far[] = { { .name = "x", .offset = SIZE_MAX }, { .name = NULL } };
    const char *wants = "optim: the rule needs a name, an update and 0 to 4 states";
    const struct {
        wf_optim_rule rule;
        const char *says;
    } bad[] = {
        { { .name = "mine", .update = update, .states = 5 }, wants },
        { { .name = "mine", .update = update, .states = INT32_MAX }, wants },
        { { .name = "mine", .update = update, .states = -1 }, wants },
        { { .name = "mine" }, wants },
        { { .update = update }, wants },
        { { .name = "mine", .update = update, .states = 1 },
          "mine: state 0 needs a name, without '.', that is not 'step'" },
        { { .name = "mine", .update = update, .states = 1, .state_names = { "step" } },
          "mine: state 0 needs a name, without '.', that is not 'step'" },
        { { .name = "mine", .update = update, .states = 2, .state_names = { "m", "m" } },
          "mine: states 0 and 1 are both named 'm'" },
        { { .name = "mine", .update = update, .options_size = SIZE_MAX },
          "mine: its options have 18446744073709551615 bytes; 0 to 1048576 can be" },
        { { .name = "mine", .update = update, .options_size = 8, .options = outside },
          "mine: .x lies outside its options of 8 bytes" },
        { { .name = "mine", .update = update, .options_size = 8, .options = far },
          "mine: .x lies outside its options of 8 bytes" },
    };
    static const double options[4];
    for (int i = 0; i < (int)(sizeof bad / sizeof bad[0]); i++) {
        wf_module *net = wf_module_new("net", NULL);
        wf_param_new(net, "w", WF_SHAPE(3), (wf_init){ 0 });
        ck_assert_ptr_null(wf_optim_new(net, &bad[i].rule, 0.1, options));
        assert_tree_fails(net, bad[i].says);
    }
}

const harness_suite suite = { 0 };
