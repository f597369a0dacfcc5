/** @cerrojo/client/es: lo mismo en español, con un solo dominio a la vez. */
import { type AuthClient, createAuthClient, type Encrypted, type Tokens, type User } from './index.ts'

export { AuthClientError } from './index.ts'

export interface Credenciales {
  email: string
  password: string
  /** Cifra los datos antes de que salgan. Por defecto: false. */
  cifrar?: boolean
}

let cliente: AuthClient | undefined

/**
 * Elige el servidor; lo que sigue se dirige a él. Sustituye al anterior.
 * @param baseUrl el origen del servidor, sin `/auth`
 * @returns el cliente completo, para lo que aquí no tiene nombre: `logout`, `me`, `fetch`…
 */
export function cargarDominio(baseUrl: string): AuthClient {
  cliente?.dispose()
  cliente = createAuthClient({ baseUrl })
  return cliente
}

/**
 * Crea una cuenta.
 * @returns lo que contesta POST /auth/register
 * @throws {AuthClientError} como `register`
 */
export async function registrarse({ email, password, cifrar = false }: Credenciales): Promise<User> {
  return elegido().register({ email, password, encrypt: cifrar })
}

/**
 * Inicia la sesión.
 * @returns lo que contesta POST /auth/login
 * @throws {AuthClientError} como `login`
 */
export async function loguearse({ email, password, cifrar = false }: Credenciales): Promise<Tokens> {
  return elegido().login({ email, password, encrypt: cifrar })
}

/**
 * Pide otro token de acceso.
 * @returns lo que contesta POST /auth/token/refresh
 * @throws {AuthClientError} como `refresh`
 */
export async function refrescar(): Promise<Tokens> {
  return elegido().refresh()
}

/**
 * Cifra un objeto con la clave pública del servidor, con `iat` y `jti` dentro.
 * @throws {AuthClientError} CLIENT_CANNOT_ENCRYPT, o lo que falló al pedir las claves
 */
export async function encriptarDatos(objeto: object): Promise<Encrypted> {
  return elegido().encrypt(objeto)
}

/** @throws {TypeError} antes del primer `cargarDominio` */
function elegido(): AuthClient {
  if (!cliente) throw new TypeError('falta cargarDominio(baseUrl)')
  return cliente
}
