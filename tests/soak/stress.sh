#!/bin/sh
# SPDX-License-Identifier: MIT
# Ten minutes of tests/e2e/stress.sh in L1 and ten in L2.
STRESS_SECONDS=600 exec sh "$(dirname "$0")/../e2e/stress.sh"
