/*
 * streams.h - the three standard streams of a program, which its caller may have closed.
 */
#ifndef BASE_STREAMS_H
#define BASE_STREAMS_H

/* First thing in main(): no file or socket that is opened later takes the place of a standard stream that the caller
 * has closed, or it would get what is printed. The null device stands there the other way round: writing to it is an
 * error, and so is reading from it. */
void streams_hold(void);

#endif
