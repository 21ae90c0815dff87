/* What the files of the module tree know of it: paths as seen from a module, and what is saved. Not
 * installed. */
#ifndef WEFT_AUTOGRAD_MODULE_PRIVATE_H
#define WEFT_AUTOGRAD_MODULE_PRIVATE_H

#include "autograd/private.h"

/* A parameter's or buffer's path as seen from module. */
const char *module_param_name(const wf_module *module, const wf_var *param);
/* What goes into files: the parameters of a subtree, then its buffers. */
int64_t module_saved_count(const wf_module *module);
wf_var *module_saved_at(const wf_module *module, int64_t index);

#endif
