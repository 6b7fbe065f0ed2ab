/**
 * Private keys that anybody can read: examples of RFCs, jwt.io and tutorials, and from the documentation and tests of JWT
 * libraries. The list has the thumbprint of each (RFC 7638), and one place that publishes it.
 */
export const publishedKeys: ReadonlySet<string> = new Set([
  'IsUn6_e04MaShXFIISMp4kG62LWzMIPy_MvSA5pJgX8', // RFC 7515, A.2
  'oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U', // RFC 7515, A.3
  'xtIsOV1FqKH77AI_A3jdTg5QfdabzqI-LNpYTPi0IgI', // RFC 7516, A.1
  '_K0fXS8wlsT7Tn3vvZrs9qdKUIqi5AxQ5EVk41xi_BM', // RFC 7516, A.2
  'cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s', // RFC 7517, A.2 (EC)
  'NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs', // RFC 7517, A.2 (RSA); RFC 7638, 3.1
  'D8R4-FeTJfzuDUy8bZ0c4hcwpul-Q11gCPs3mw6-R9Q', // RFC 7517, C.1
  '9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI', // RFC 7520, 3.3
  'oGDmHqCJ7yzMkWEkrlZVHkvrHIyQwtlDmeq5ForUHeY', // jwt.io, RS256
  '19J8y7Zprt2-QKLjF2I5pVk0OELX6cY2AfaAv1LC_w8', // jwt.io, ES256
  'Vy57XrArUrW0NbpI12tEzDHABxMwrTh6HHXRenSpnCo', // C2SP/wycheproof: testvectors_v1/json_web_crypto_test.json
  'ayHP8s_OfTOz7Lp74K10qdqgO_pmAnygDsd0O9VnymY', // C2SP/wycheproof: testvectors_v1/json_web_crypto_test.json
  'hKoe1YKmJxChuUJIUBuWgD3Kc_DtVa-vpjuCNmmDQh8', // C2SP/wycheproof: testvectors_v1/json_web_crypto_test.json
  'jtGSXJVYuZVE0cLF8m4OWz-gvUEtc1LxRfUd7fMBarg', // C2SP/wycheproof: testvectors_v1/json_web_crypto_test.json
  'HsSFalww3yP-dO-lWGYgFcyV5H22oScIFc4V2Y6GOto', // C2SP/wycheproof: testvectors_v1/json_web_encryption_test.json
  'Rt-IyDEhXohvTl_ozKQ9YGflXGuDb3uu3QmqN2LoMwM', // C2SP/wycheproof: testvectors_v1/json_web_encryption_test.json
  'e59bmbwk8PjLjUR56__eHxmfF6Qg6zrn1lnWa2vmyhI', // C2SP/wycheproof: testvectors_v1/json_web_encryption_test.json
  'h_jutvC-jg3Nwueq8LmdSybXykVsBwk4_5u5Y9JiS7E', // C2SP/wycheproof: testvectors_v1/json_web_encryption_test.json
  'zfyJgf2zoUydpctYAdg8JTMjGKGn5NLKDKURo1Ip-eI', // C2SP/wycheproof: testvectors_v1/json_web_encryption_test.json
  '3Juhh9nCaGcKHSuwWnhh8919jBcpdja8op_RLoQt7ik', // C2SP/wycheproof: testvectors_v1/json_web_key_test.json
  'RgVR5H6vvCLajavO3NKXafnQJXfbDa0gFBXhfKcyeMQ', // C2SP/wycheproof: testvectors_v1/json_web_signature_test.json
  'ZiLSoDuPfDc8rxPl05LxD9nV_EzK3XJ8t6qpTXJCtvw', // C2SP/wycheproof: testvectors_v1/json_web_signature_test.json
  'eLx7cyKbcDMHSL_1LbVriUzfZG-p_W2rjxLJrg9teck', // C2SP/wycheproof: testvectors_v1/json_web_signature_test.json
  'QJ3vws38tuceZzirZ-dpxXuDf_9AjMKBRTJqO4NEH44', // auth0/node-jsonwebtoken: test/ecdsa-private.pem
  'GtpwwA9LzqyJI4cCKBFWgXinS8Ir-r7qazNtMgGTbCg', // auth0/node-jsonwebtoken: test/prime256v1-private.pem
  'TMWZPLxBB0oRvBbIun4452YAbNbLDI1XJryOUN3wmng', // auth0/node-jsonwebtoken: test/priv.pem
  'h-WwIaCbi9W3pjrPgyYK5cnFh93IA-oALuB380lCwHY', // auth0/node-jsonwebtoken: test/rsa-private.pem
  'vYqiohrjkJYey8kEscGYjVSN4GmqO-ny44MGqu6QEU0', // authlib/authlib: tests/clients/keys/jwks_private.json
  '2E3MHQnBpzum0VP40zI5waiiEO45C-PmrGtMcpMH5_4', // authlib/authlib: tests/jose/test_ecdh_1pu.py
  '_GK0r6GCoJt9zcssg9lay4obIxgCq05ntiRymRHADSU', // authlib/authlib: tests/jose/test_ecdh_1pu.py
  'qT5yKRo0isoECLGe0-hJJux4iMROawVfs8LFcQ2Aveo', // authlib/authlib: tests/jose/test_ecdh_1pu.py
  'BdQkBDq-hAX31FEpsiS64v2TSQ-6MKgv1N722_djQn0', // firebase/php-jwt: README.md
  'k55YyAFjOlHCcJQm-caAbljt1Kfm4KC1heDfH44sKEU', // firebase/php-jwt: tests/data/ecdsa-private.pem
  'ksx3LePKYYbsjB7OHnmZC_7ITM-Z0V-HW9qg39qqw9g', // firebase/php-jwt: tests/data/ecdsa256-private.pem
  'W2B9qMGaq6tqBq9LDKG0q2xx3ms9tJUrI7uqgxs1PbI', // firebase/php-jwt: tests/data/rsa1-private.pem
  'e4QJ3pVKsbdtR8nPO-q_4Kpe7CieKbKHQ--7re44BoM', // firebase/php-jwt: tests/data/rsa2-private.pem
  'qRjd65D5sMLm6yrPiIAS96OCz4wj1iQqiQjnxFzFQz8', // go-jose/go-jose: jose-util/jose-util.t
  'mgwIx_LaMzhb5fO-JtODadn5NCBgN6UMWfr02ubzsr0', // go-jose/go-jose: jwe_test.go
  '4-wQHj6kp0S-U0m31-SK_pszeQgMI_Zryw-a5sLeEio', // go-jose/go-jose: jwk_test.go
  'fnR4vN7pa7qAcMvLck-yXppRp4QpZY6tz36DgMtciO8', // go-jose/go-jose: jwk_test.go
  '5sfGOi5Y1OvJRAO-p4VJiYtsLoSQkPVGeMMLl-AFHLE', // go-jose/go-jose: jwt/builder_test.go
  'Za3rCNlYnVQy3RE3YGZ4eBxGxm1SyYCmVzB25sTVm6k', // go-jose/go-jose: jwt/builder_test.go
  '2U1MPNC1iWSC_8uvLByexKFXziTWPQCeeUbuuvzN4JQ', // golang-jwt/jwt: test/ec256-private.pem
  'UVSYOAYMLo8sxJkSZl2DZDHA6sP9UlyYSl2moTB7i9Q', // golang-jwt/jwt: test/sample_key
  '8izOqBCj1XBwWw0-iTcMv27pUKWwFvNmw-kutyfzf-g', // ietf-jose/cookbook: 6.nesting_signatures_and_encryption.json
  'mTVa39KNK8LI9ZgAkyqQOQayaqVO7DXurapqkzEbfMg', // ietf-jose/cookbook: jwe/5_5.key_agreement_using_ecdh-es_with_aes-cbc-hmac-sha2.json
  '16zKmuhb0KVARMX3l7bLuhbfIOS3ApYIvxGZdbolzg0', // jpadilla/pyjwt: docs/usage.rst
  'MG5cGnndDjB73SYRgx--spCT-WaYyVbc3gZe1PLpj9Y', // jpadilla/pyjwt: docs/usage.rst
  'keB2QPl5o1okSEJB3ZuhJZd2Ns8D_7ol2_KAcfqJHxQ', // jpadilla/pyjwt: docs/usage.rst
  'vrKoGfczRHox0NhQdBBwieFVn4_G_8hLybJ2AL21vGc', // jpadilla/pyjwt: tests/keys/jwk_ec_key_P-256.json
  '3XqHrr6_xhD8tmbJaQKyGGU6bXQXJ_USxYhWllzaPI0', // jpadilla/pyjwt: tests/keys/testkey_ec.priv
  'jCdWsBJ7pLKhYcPAj_E8Ee6m6kaX9wMBrzZbvgJiQJk', // jpadilla/pyjwt: tests/keys/testkey_rsa.priv
  'HrqQ1PzR6EwoBf1HjOtlpPKgzQPp0M2eYHaMywYRTqo', // jpadilla/pyjwt: tests/test_advisory.py
  '7dsF_V-CiXdbKQV35C8UzdEDdK1R6Mi2MWStrsPSrE4', // jwt/ruby-jwt: spec/fixtures/keys/ec256-private-v2.pem
  'gqoyeivUozAQCk9EyHpAi11uM-_0x4J1oEPSGjJD3WE', // jwt/ruby-jwt: spec/fixtures/keys/ec256-private.pem
  'OZn6R2AwyTZuZYfqIR1Fc3Npuplo97331X6u-5URet0', // jwt/ruby-jwt: spec/fixtures/keys/rsa-2048-private.pem
  'tYk1Kp6iLkJc7sF1e19AQYlXQIy5WvU9Lpvzp88KmLs', // jwt/ruby-jwt: spec/jwt/concurrent_encode_decode_spec.rb
  'fW_7qgfNlE9Rwg2hZ4oX-u9572zzYFzyFkEb5mUYU6o', // jwtk/jjwt: impl/src/test/resources/io/jsonwebtoken/impl/security/ES256.pkcs8.pem
  'G5SGSvACz9WmRKuYUx4xqu8ozD14EnOXUX_NAkLpGPc', // jwtk/jjwt: impl/src/test/resources/io/jsonwebtoken/impl/security/RS256.pkcs8.pem
  'BpsSN1HlnRdVL4h7k-WE5qtgivvxVcxt6i9b_CO2-9w', // jwtk/jjwt: impl/src/test/resources/io/jsonwebtoken/impl/security/RS384.pkcs8.pem
  'gJMwRASaj8sFcCZIR4vKWBiYT0n7kjXo9MYQkyfUlxU', // jwtk/jjwt: impl/src/test/resources/io/jsonwebtoken/impl/security/RS512.pkcs8.pem
  'MBYaekbZIPvUTXzm5rmtNgaJILlTGTHTvo1CP4ZxHKA', // mpdavis/python-jose: tests/algorithms/test_EC.py
  'jBbPiueQ9_CNgmWEZWjmYVKzk9GLOt_eVYgGSc0_35Q', // mpdavis/python-jose: tests/algorithms/test_EC.py
  '4q49a80X0E7jJ-35heknPawF3IK1MS9SW0G4ll1hmJw', // mpdavis/python-jose: tests/algorithms/test_RSA.py
  'aMfeAme-t4bdPf8ft-TPlCwcty4tyTjV5DA0LrcKe1k', // mpdavis/python-jose: tests/algorithms/test_RSA.py
  'cmTD04u2Gff46Lb2ouqmjfar2ZkaMI5vTzHpQ4GiCFA', // mpdavis/python-jose: tests/test_jwe.py
  'sEMDq6WeoWnxWDcNpTSp8e3p1LRe7a9MlDpxtaq5Yqk', // panva/jose: docs/jwt/sign/classes/SignJWT.md
  'P6_UlUzeyDoiWQA-JSzuPnUHUpS1VHeqpnff1lONK-E', // panva/jose: docs/key/import/functions/importPKCS8.md
  '9lpMJhQsIpwa1urtuFCpGNqjibul3MCn62NUJZyHDVI', // panva/jose: tap/fixtures.ts
  'D4-9iPw9EaqFBbJouxhLZkeUK_SGZFW_jeaymtacZmI', // panva/jose: tap/fixtures.ts
  'ZuLUAgyr6RQV3ERjDukHzOO_90rVbrPiE1vD_HtPFuM', // panva/jose: tap/jwks.ts
  'a-5xuiQoRqlLBtec9jRpXoGTVOP10SGnj2Und0CHHxw', // panva/jose: tap/jwks.ts
  'hJU8GvYjtifxLVuBDSNmhLBF19wQHaZvQhfpT3wKzpE', // panva/jose: tap/jwks.ts
  'BuXfDiv1AfvOwRDC9D3W80W0QmTdPnikZurnQb6mLvU', // panva/jose: test/jwk/embedded.test.ts
  'm0QpcaNYR8YmMtmEj4cJ9gDxXk99cVhaK7F11IsgaEo', // panva/jose: test/jws/restrictions.test.ts
  '3KWwAscfWwzRXHezHOgM2EkHQsA3D_Ywp3n6xDyxNw0', // panva/node-oidc-provider: certification/fapi/index.js
  'LJuZnTrnhtSbpcjnu4pq3Xvrmzy6sI_fUOd7L7Bh9to', // panva/node-oidc-provider: certification/fapi/plan.json
  '_CI-XQEPLMVyDnkmBTLzcCeyCGrde4dNfR7HLtvGSW8', // panva/node-oidc-provider: certification/fapi/plan.json
  'hR3RQwZlCkdyJRAiYJ9stUgj0DDXDwPUaa2CLtQ3JE0', // panva/node-oidc-provider: certification/fapi/plan.json
  'rxZogVFbs1tz36D4tmlW0yEHUTfD_mxyF3RSWBe5eHI', // panva/node-oidc-provider: certification/fapi/plan.json
  'MFZeG102dQiqbANoaMlW_Jmf7fOZmtRsHt77JFhTpF0', // panva/node-oidc-provider: certification/oidc/configuration.js
  'aWzcNZreOqsySW5vNqi1CdgwAp4O_uRWfmpxTthBuFk', // panva/node-oidc-provider: certification/oidc/configuration.js
  'mebPnbI1375FgBIwZRSGbsEbcYGf8nBV2fok-05bkUQ', // panva/node-oidc-provider: certification/oidc/configuration.js
  'mlSUkq-ELqZiWl9zs9ZKkbcjIvgajGgnXfPWUZn9lEc', // panva/node-oidc-provider: certification/oidc/configuration.js
  'aeR7dRJK-JooXUtywZMx_y3b9_72hU7ZliAqbAO_hjc', // panva/node-oidc-provider: test/client.sig.key.js
  'XmH77-aaYQgbH1xKhjL4-u9Hk0f6R73ylec0vtb4zRY', // panva/node-oidc-provider: test/configuration/client_keystore.test.js
  'Lt3iJr8O907aDo8usLeOduu0DB6C0ctqWumHsB9dl28', // panva/node-oidc-provider: test/jwks/ec.key
  '1xROmZz_61I8l-LJro_5Zi85OAV_SkI_XYB0ivyVPU0', // panva/node-oidc-provider: test/jwks/jwks-enc.config.js
  '7k9sks5sZ3NqrS55feHFQdMBkeG7lCPZGF852ZRkmL0', // panva/node-oidc-provider: test/jwks/jwks-enc.config.js
  'cMzrEnOQwQCZ2wE0PdUYQN3H_ez6UiobsuNpkHp_UUo', // panva/node-oidc-provider: test/jwks/jwks-enc.config.js
  'e0E9_EexvEyoDYUwFH_mbP9FitPWB7JR5fYBIvzVbHA', // panva/node-oidc-provider: test/jwks/jwks-enc.config.js
  'inKps3BjRIjEs3kfNnExJjgq4wRn_h_Znaw0xxYEhDM', // panva/node-oidc-provider: test/jwks/jwks-enc.config.js
  'Ja7-VHHj3GN9D8z5t2WtD4EhzLUaGCHV0xbUBW2COXY', // panva/node-oidc-provider: test/jwks/rsa.key
  'xYHTGP-PBLAaE5Z2DgTI9RlJbiSXH2d1_lcFBX4CX3I', // quarkusio/quarkus-quickstarts: grpc-tls-quickstart/src/main/resources/tls/ca.key
  'mfQUI-cwLHw9Y1RKVKZ1FUaDWgX9Ebvob-6KFs_ityU', // quarkusio/quarkus-quickstarts: grpc-tls-quickstart/src/main/resources/tls/server.key
  'ML2-9SXxlH35jv0jOI_SWXv1qK_B_pcL9PowUXAA76o', // quarkusio/quarkus-quickstarts: security-jwt-quickstart/src/test/resources/privateKey.pem
  'S_VkWFiuYSQ42ro_7NiiNZVzEEvnwFBX6dcLuPZRGO4', // spring-projects/spring-security-samples: reactive/webflux/java/authentication/x509/src/main/resources/certs/client.pem
  '96A02nJDJmz_tsNfUNZvEuGt1G8wRWjD7A_JCJlNiDE', // spring-projects/spring-security-samples: servlet/spring-boot/java/authentication/mfa/x509+formLogin/etc/ca.key
  'bllgkQz8RGTgyb4USOgp-Nqf4TrLmFG50c4Yy5f3qLA', // spring-projects/spring-security-samples: servlet/spring-boot/java/jwt/login/src/main/resources/app.key
])

/**
 * Shared secrets that anybody can read, from the same kinds of places. The list has the SHA-256 of the published spelling
 * in lower case, because tools that look for secrets would report the secrets themselves.
 */
export const publishedSecrets: ReadonlySet<string> = new Set([
  'c1d2e8726375f11fda33d032c5d84eec753aba4bad251dfdfaf8bdd8c4d26243', // RFC 7515, A.1; RFC 7517, A.3
  '83cb65d4e0b79db9cbadbe8215d0d2da7a2ca18153d8b7a0bc22783919b84bfc', // RFC 7516, B.1
  '03cf6dc15510c178079793372edd09e634ac49f4cae267b3e4191a5141f2a46e', // RFC 7520, 3.5
  '5b8d3fb264e6cad78f7360de363ee1e193cb4d28773dcae1c9be75c2479bfa7c', // RFC 7520, 3.6
  'bf62838d928d820bc511a088c5c27eb0673852cc79063a39b16b0d2058f81961', // RFC 7520, 5.7 and 5.13
  '570dad43de1af4c925f92c16a68a50936da42b7dd6fdeb24850507a1199aac89', // FastAPI: tutorial on OAuth2 with JWT
  '2598f7d6adc142d88161630f3db12ab2bd3403521c281811e5e1ce60d4ac5d76', // Flask: quickstart and configuration
  'efa6f5d24ecc2fb531e1347ced231ff09842723c12d58e5c8a6dc7b05f767b3b', // panva/jose: docs/jwt/sign/classes/SignJWT.md
  '0ebfe52d9ff55cc083239e35bd5121402a3fd62bedf2a1e5479e6d799cb5d8b5', // panva/jose: docs/jwt/encrypt/classes/EncryptJWT.md
  '88782a01918a72874d869dc48f5a6e8aec56e6685ceebb31ffb02e7f94f80fba', // a tutorial on jsonwebtoken; many Express projects
  '1722c3b39670df9a241517b7c7707e4b4b6e5fd5b539dfdb27b97abb1d938890', // the same, cut to 48 bytes
  '5df73e1aa59d8f332c2f5fd6ea1c37d0f2266b623ea3c4efe6cb3d577fd6a5e1', // a tutorial on JJWT; many Spring projects
  '594c081d23de22b178ba34a9c8551fe23d3a7034d92717a5cb4a054337a4c714', // another one; many Spring projects
  'd33389d0241fa33bed430ccbaed400605c5d6bd40ecea6f6f4ca8c367828d6b9', // a tutorial on System.IdentityModel; many .NET projects
  '3389b8acb0c5af6e14f9edeb249cc816b0251901a89ad1e99c5fd373119b92e6', // the default of jwt-spring-security-demo and eladmin
  '732e39db1c183ac4aaf4a565cecdca358c6d8fbc29d4fbb962999b5448ffe477', // ls1intum/Artemis: setup guide
  '14f2f1880ca4fd84539746a9070e9a4e6ba21398d4a83d01567483c0965208c1', // a tutorial on Nacos
  'a4f75e55f00a210e85cde3b68f7cd30b249163a899871eb0634de2f60cbe651c', // the default of several Nacos and Spring Cloud projects
  'dfeaa390773e06ca10b9de1898844941940deb05730a0e19efac9ec663813df8', // C2SP/wycheproof: testvectors_v1/json_web_crypto_test.json
  'c2a799bfb5ccb0fd254b72b3fc7a8d5babcbd1de30614faca34742055fee6785', // C2SP/wycheproof: testvectors_v1/json_web_crypto_test.json
  '42955efa2a38079f23c7934296c5494b63ca4340e30651007bfb5c0066a3a919', // C2SP/wycheproof: testvectors_v1/json_web_crypto_test.json
  '0825e7e6bc3114e93ad4f72d86e0e11df34f1df7f4cf5b5284b01b14d3f316b9', // C2SP/wycheproof: testvectors_v1/json_web_encryption_test.json
  'a050db82a68b2a2bc2e8af13f47a705e3bd3f3463e557f169515df07346c3bcb', // C2SP/wycheproof: testvectors_v1/json_web_encryption_test.json
  '29547e4b233337402039f17d4f75aa09f45d2fdfa97ff04c9eaf3f7cc9fc1df0', // C2SP/wycheproof: testvectors_v1/json_web_encryption_test.json
  '55126dc9d18d255a50196b5a3f9bda3036d7a2ae4464ddc81e263f9b618391ed', // C2SP/wycheproof: testvectors_v1/json_web_key_test.json
])
