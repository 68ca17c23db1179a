/* --check and --backup: what a person at the console asks of a data directory, and what is answered. */
#ifndef GREEDYLRD_SERVER_INSPECT_H
#define GREEDYLRD_SERVER_INSPECT_H

#include "core/status.h"

#include <stdint.h>
#include <stdio.h>

/* Prints a sentence that says how DIR is, then each finding with its remedy, then what is in it.  0 if
 * nothing is wrong; ST_DATA_DAMAGED, ST_DATA_DIR_UNREADABLE, ST_DATA_NEWER otherwise, all of it said. */
int inspect_check(const char *dir, uint32_t history_limit, FILE *out) WARN_UNUSED;

/* Copies the database of DIR to FILE, and prints what is in the copy.  0, or store_backup's error. */
int inspect_backup(const char *dir, const char *file, FILE *out, struct error *err) WARN_UNUSED;

#endif
