/*
 * token_usage.h - the tokens that an answer cost, as applications have them: a number, or the object that providers
 * call `usage`, handed on as it came.
 *
 *      OpenAI, chat         prompt_tokens  completion_tokens  total_tokens
 *      OpenAI, responses    input_tokens   output_tokens      total_tokens
 *      Anthropic            input_tokens   output_tokens      cache_creation_input_tokens  cache_read_input_tokens
 *      short                prompt         completion
 *
 * Details that are no number (prompt_tokens_details, service_tier) are passed over; a number under any other name is
 * refused, because it would be a misspelled count more often than not. Pure, any thread.
 */
#ifndef CACHE_TOKEN_USAGE_H
#define CACHE_TOKEN_USAGE_H

#include "base/json.h"

/* What is accepted, in words. */
#define TOKEN_USAGE_ACCEPTED                                                                                           \
    "a whole number from 0 to 1099511627776 or {\"prompt_tokens\", \"completion_tokens\", \"total_tokens\"}"

/*
 * Reads the value `token`: a plain number counts as completion, null and an empty object as nothing; where a total
 * exceeds the sum, the rest counts as completion. AIC_OK, or AIC_INVALID, which names the member: not a whole number
 * from 0 to AIC_MAX_TOKENS, not known, or a second spelling of one count.
 */
AIC_MUST_CHECK aic_status token_usage_read(const struct json *json, uint32_t token, uint64_t *prompt,
                                           uint64_t *completion, aic_error *error);

#endif
