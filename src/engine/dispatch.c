// SPDX-License-Identifier: MIT
/* Rows of insn.def to functions: helpers and own translators. */
#include "engine/helpers.h"
#include "engine/xl_fns.h"

#define INSN(name, map, pfx, op, ext, o1, o2, o3, o4, acc, fl, impl, gate, rules, how) how,
#define EINSN(name, map, pfx, op, ext, o1, o2, o3, o4, acc, tuple, attr, gate, rules, how) how,
#define NATIVE NULL
#define UD     NULL

helper_fn *const insn_helper[] = {
#define CUSTOM(f) NULL
#define HELPER(f) helper_##f
#include "engine/insn.def"
#undef CUSTOM
#undef HELPER
};

xl_fn *const insn_custom[] = {
#define CUSTOM(f) xl_##f
#define HELPER(f) NULL
#include "engine/insn.def"
#undef CUSTOM
#undef HELPER
};
