declare module 'fs-native-extensions' {
  /** Locks an open file for this process; the kernel lets go of it when the process ends, however it ends. */
  export function tryLock(fd: number): boolean
}
