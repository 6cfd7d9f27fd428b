/*
 * builtin_ttls.h - how long answers of the operations that are known by name live when nobody says otherwise.
 *
 * BUILTIN_TTL_MAP(X) calls X(operation, seconds). The cache keeps to them, the daemon's settings show them.
 */
#ifndef CACHE_BUILTIN_TTLS_H
#define CACHE_BUILTIN_TTLS_H

#define BUILTIN_TTL_MAP(X)                                                                                             \
    X("summarize", 7200) X("sentiment", 86400) X("key_points", 7200) X("questions", 3600) X("qa", 1800)

#endif
