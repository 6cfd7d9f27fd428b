/*
 * url.h - what may be said of a URL, and whether it leads to this machine.
 *
 * A URL of a configuration can hold a password (before the host) or a token (in its path or query), so that only its
 * scheme, host and port may ever be shown. Pure functions; any thread.
 */
#ifndef BASE_URL_H
#define BASE_URL_H

#include <aicache/aicache.h>

#define URL_PLACE_BYTES 300
/* "https://hooks.example.com:8443" of "https://user:password@hooks.example.com:8443/token?x". Where the host cannot be
 * told from a password for certain, the host is left out: "https://(hidden)". Returns `out`. */
const char *url_place(const char *url, char out[URL_PLACE_BYTES]);

/* The name and password in a text that somebody wrote, a URL or none: what stands before its last `@`, from behind
 * "://" on, or else from the start or from behind the flag's `=`, if a colon is in it. data NULL: there is neither. */
aic_view url_user_info(aic_view text);
/* Puts one `*` in their place, in each word of a message. */
void url_hide(char *message);

/* Does its host name this machine: localhost, a name below it, 127.0.0.0/8 or ::1? Such a request goes to no proxy. */
bool url_is_local(const char *url);

#endif
