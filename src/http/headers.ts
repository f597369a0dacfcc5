/** The headers that every answer has. */

/** @param requestId of the request that is answered */
export function headersFor(requestId: string) {
  return {
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',
    'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
    'cache-control': 'no-store',
    'x-request-id': requestId,
  }
}
