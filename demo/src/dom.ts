/** The few things that this page does to its document. */

/** @throws {TypeError} when the document and this program do not fit each other */
export function find<Kind extends HTMLElement>(id: string, kind: new () => Kind): Kind {
  const element = document.getElementById(id)
  if (!(element instanceof kind)) throw new TypeError(`there is no ${kind.name} with the id ${id}`)
  return element
}

export function create<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  properties: Partial<HTMLElementTagNameMap[Name]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const element = Object.assign(document.createElement(name), properties)
  element.append(...children)
  return element
}

/** Text that a narrow column may break after each slash and underscore. */
export function breakable(text: string): DocumentFragment {
  const fragment = document.createDocumentFragment()
  for (const part of text.split(/(?<=[/_])/)) fragment.append(part, create('wbr'))
  return fragment
}

/** Fills a description list. Values of this session alone are marked, for the test that takes the picture. */
export function fillFacts(list: HTMLElement, facts: Record<string, unknown>, varying: string[] = []): void {
  list.replaceChildren(
    ...Object.entries(facts).flatMap(([name, value]) => {
      const description = create('dd', {}, String(value))
      if (varying.includes(name)) description.dataset.varies = name
      return [create('dt', {}, name), description]
    }),
  )
}
