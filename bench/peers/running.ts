/** What the bench asks of a system that its reader has running, which it reaches by HTTP alone. */

/** What the reader's file says of one of them: its address, credentials, and whatever else it needs. */
export type Settings = { url: string; processIds?: number[] } & Record<string, unknown>

export interface PeerSession {
  accessToken: string
  refreshToken?: string
}

export interface PeerRequest {
  method: 'GET' | 'POST'
  /** Below the address. */
  path: string
  headers: Record<string, string>
  body?: string
}

export interface RunningPeer {
  name: string
  /** What the file must say besides the address. */
  settings: string[]
  login(settings: Settings): Promise<PeerSession>
  /** None where tokens do not rotate. */
  refresh?(session: PeerSession, settings: Settings): PeerRequest
  look(session: PeerSession, settings: Settings): PeerRequest
  keysPath?: string
}
