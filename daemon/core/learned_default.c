/* The model that ships, made by greedylr-train (client/train/README.md says how, and how good it is). */
#include "core/learned_default.h"
