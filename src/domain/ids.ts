/** Ids that cannot be mistaken for one another. All are lower-case UUIDs unless said otherwise. */
declare const brand: unique symbol

/** A string that can only be used as the id of the thing it names. */
export type Id<Of extends string> = string & { readonly [brand]: Of }

export type InstanceId = Id<'Instance'>
export type VolumeId = Id<'Volume'>
export type LayerId = Id<'Layer'>
export type PointId = Id<'Point'>
export type SnapshotId = Id<'VolumeSnapshot'>
export type ImageId = Id<'Image'>
export type AttachmentId = Id<'Attachment'>
export type PoolId = Id<'Pool'>
export type HostId = Id<'Host'>
export type PlanId = Id<'Plan'>
export type BackupId = Id<'Backup'>
export type VaultId = Id<'Vault'>
export type HostGroupId = Id<'HostGroup'>
export type OperationId = Id<'Operation'>
export type UserId = Id<'User'>
export type ProjectId = Id<'Project'>
/** Nova's `req-<uuid>`. */
export type RequestId = Id<'Request'>
/** Free text, `1` or a UUID: Nova's flavor ids are chosen by the administrator. */
export type FlavorId = Id<'Flavor'>

/** Number of bytes; disks are whole multiples of 512. */
export type Bytes = number

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export const isUuid = (text: string): boolean => uuid.test(text)

/** Brands a string that is known to be such an id: one read from the database, or fresh from `newId`. */
export const asId = <T extends Id<string>>(text: string): T => text as T

/** A fresh random id. */
export const newId = <T extends Id<string>>(): T => globalThis.crypto.randomUUID() as string as T
